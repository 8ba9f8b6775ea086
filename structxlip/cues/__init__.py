"""Structural cues of an image: edge maps by name, their quality, and how they are stored."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues.canny import canny
from structxlip.cues.encoding import decode_edges, encode_edges, given_edges
from structxlip.cues.gradients import scharr, sobel
from structxlip.cues.learned import LearnedDetector
from structxlip.cues.quality import edge_density, has_structure
from structxlip.cues.regions import Region, edge_regions
from structxlip.cues.segments import lsd
from structxlip.cues.zero_crossings import dog, log

__all__ = [
    "CUES",
    "Detector",
    "LearnedDetector",
    "Region",
    "canny",
    "configured",
    "decode_edges",
    "detector",
    "dog",
    "edge_density",
    "edge_regions",
    "encode_edges",
    "given_edges",
    "has_structure",
    "log",
    "lsd",
    "scharr",
    "sobel",
]


class Detector(Protocol):
    """Turns an image, ``uint8 [height, width, 3]``, into an edge map, ``bool [size_px, size_px]``.

    Those of ``CUES`` take grey images, ``uint8 [height, width]``, as well. ``low`` and ``high`` are
    in the detector's own units; ``None`` sets them from the image.
    """

    def __call__(
        self,
        image: NDArray[np.uint8],
        *,
        size_px: int,
        blur_sigma: float = 1.0,
        low: float | None = None,
        high: float | None = None,
    ) -> NDArray[np.bool_]: ...


CUES: dict[str, Detector] = {
    "canny": canny,
    "dog": dog,
    "log": log,
    "lsd": lsd,
    "scharr": scharr,
    "sobel": sobel,
}
LEARNED = "learned"
# A package adds a cue by an entry point of this group, NAME = "module:detector".
ENTRY_POINTS = "structxlip.cues"


def configured(settings: Edges) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_]]:
    """The detector of parameters, as a function of the image alone; errors of ``detector``."""
    return partial(
        detector(settings.cue, settings.weights),
        size_px=settings.size_px,
        blur_sigma=settings.blur_sigma,
        low=settings.low,
        high=settings.high,
    )


def detector(name: str, weights: str | None = None) -> Detector:
    """The detector of a name: in ``CUES``, by an entry point, or `learned` with its ONNX file.

    Raises ``ValueError`` for an unknown name, with the nearest that is known, for weights that are
    missing, not wanted or not readable, and for an entry point that cannot be loaded.
    """
    if (name == LEARNED) != (weights is not None):
        raise ValueError(
            f"the cue {LEARNED!r} needs weights, an ONNX file, and no other takes any; "
            f"got {name!r} with {weights or 'none'}"
        )
    if weights is not None:
        return LearnedDetector(weights)
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in CUES:
        return CUES[name]
    if name in others:
        try:
            found: Detector = others[name].load()
        except Exception as error:  # whatever a module of somebody else's raises
            raise ValueError(
                f"the cue {name!r} of {others[name].value} is broken: {error}"
            ) from error
        return found
    known = sorted({*CUES, *others, LEARNED})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(known)}"
    raise ValueError(f"unknown cue {name!r}; {hint}")
