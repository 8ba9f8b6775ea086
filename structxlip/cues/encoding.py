"""Edge maps as bytes: lossless PNG with one bit a pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# A quarter smaller than OpenCV's own choice, and faster.
_PNG = (
    *(cv2.IMWRITE_PNG_BILEVEL, 1),
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_edges(edges: NDArray[np.bool_]) -> bytes:
    """A 1-bit PNG of an edge map, ``bool [height, width]``; ``ValueError`` for anything else."""
    if edges.dtype != np.bool_ or edges.ndim != 2 or not edges.size:
        raise ValueError(f"edges must be bool [height, width], not {edges.dtype} {edges.shape}")
    _, png = cv2.imencode(".png", edges.astype(np.uint8) * 255, _PNG)
    return png.tobytes()


def given_edges(rgb: NDArray[np.uint8], size_px: int) -> NDArray[np.bool_]:
    """An edge map that somebody else drew, ``uint8 [height, width, 3]``, as ours: ``[S, S]``.

    Lines may be bright on dark or dark on bright; the rarer of the two is taken for them. A line
    stays one when the map shrinks: a quarter of a pixel is enough.
    """
    grey = rgb.mean(axis=2).astype(np.float32) / 255
    if grey.mean() > 0.5:
        grey = 1 - grey
    method = cv2.INTER_AREA if grey.shape[0] > size_px else cv2.INTER_LINEAR
    resized: NDArray[np.bool_] = cv2.resize(grey, (size_px, size_px), interpolation=method) > 0.25
    return resized


def decode_edges(png: bytes) -> NDArray[np.bool_]:
    """The edge map, ``bool [height, width]``, that ``encode_edges`` stored.

    Raises ``ValueError`` for bytes that are not a whole PNG.
    """
    image = None
    if png.startswith(_PNG_START) and png.endswith(_PNG_END):
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError("the bytes are not a PNG edge map")
    return image > 127
