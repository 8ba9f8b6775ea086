"""Edge maps as bytes: lossless PNG with one bit a pixel."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_edges(edges: NDArray[np.bool_]) -> bytes:
    """A 1-bit PNG of an edge map, ``bool [height, width]``; ``ValueError`` for anything else."""
    if edges.dtype != np.bool_ or edges.ndim != 2 or not edges.size:
        raise ValueError(f"edges must be bool [height, width], not {edges.dtype} {edges.shape}")
    _, png = cv2.imencode(".png", edges.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])
    return png.tobytes()


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
