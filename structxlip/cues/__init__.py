"""Structural cues of an image: edge maps by name, their quality, and how they are stored."""

from __future__ import annotations

import difflib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from structxlip.cues.canny import canny
from structxlip.cues.encoding import decode_edges, encode_edges
from structxlip.cues.quality import edge_density, has_structure

__all__ = [
    "CUES",
    "Detector",
    "canny",
    "decode_edges",
    "detector",
    "edge_density",
    "encode_edges",
    "has_structure",
]


class Detector(Protocol):
    """Turns an image, ``uint8 [height, width, 3]``, into an edge map, ``bool [size_px, size_px]``.

    ``low`` and ``high`` are in the detector's own units; ``None`` sets them from the image.
    """

    def __call__(
        self,
        rgb: NDArray[np.uint8],
        *,
        size_px: int,
        blur_sigma: float = 1.0,
        low: float | None = None,
        high: float | None = None,
    ) -> NDArray[np.bool_]: ...


CUES: dict[str, Detector] = {"canny": canny}


def detector(name: str) -> Detector:
    """The detector of that name in ``CUES``; ``ValueError`` with the nearest name otherwise."""
    if name not in CUES:
        close = difflib.get_close_matches(name, CUES, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(sorted(CUES))}"
        raise ValueError(f"unknown cue {name!r}; {hint}")
    return CUES[name]
