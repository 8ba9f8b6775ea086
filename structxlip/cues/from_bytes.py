"""The edge map of an encoded image: the same for the stage that stores it and for serving."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues.detectors import built_in_cues, configured_detector
from structxlip.cues.quality import edge_density, has_structure
from structxlip.data.images import decode_grey, decode_rgb


def bytes_detector(settings: Edges) -> Callable[[bytes, int], NDArray[np.bool_]]:
    """A function from an encoded image, and its shorter side in pixels, to its edge map.

    The map is ``bool [size_px, size_px]``. Built-in cues see the image as ``decode_grey`` decodes
    it, unless they say ``needs_rgb``; all others see RGB.

    Raises ``ValueError`` as ``find_detector`` does. The function raises it for a cue that returns
    anything else than such a map, and ``BadImage`` for an image that cannot be decoded.
    """
    detect, size_px = configured_detector(settings), settings.size_px
    needs_rgb = getattr(detect.func, "needs_rgb", False)
    reads_grey = settings.cue in built_in_cues() and not needs_rgb

    def detect_in_bytes(data: bytes, side_px: int) -> NDArray[np.bool_]:
        edges = detect(decode_grey(data, size_px, side_px) if reads_grey else decode_rgb(data))
        if edges.dtype != np.bool_ or edges.shape != (size_px, size_px):
            raise ValueError(
                f"the cue {settings.cue!r} must return bool [{size_px}, {size_px}], "
                f"not {edges.dtype} {list(edges.shape)}"
            )
        return edges

    return detect_in_bytes


def usable_map(edges: NDArray[np.bool_], settings: Edges) -> bool:
    """Whether an edge map has enough structure, and not too much, to enter a loss."""
    return has_structure(
        edge_density(edges),
        min_density=settings.min_density,
        max_density=settings.max_density,
    )
