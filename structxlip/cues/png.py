"""Encode and decode edge maps as lossless PNG."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

# A binary map, a soft map or cells: ``Detector`` in cues/detectors says what they are.
EdgeMap = NDArray[np.bool_] | NDArray[np.uint8]
# A quarter smaller than with OpenCV's default settings, and faster.
_ONE_BIT = (
    *(cv2.IMWRITE_PNG_BILEVEL, 1),
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
)
_EIGHT_BITS = (cv2.IMWRITE_PNG_COMPRESSION, 1)
_BIT_DEPTH = 24  # where a PNG says how many bits a pixel has
GIVEN = "given"  # the cue of maps that a dataset brings along
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"


def encode_edges(edges: EdgeMap) -> bytes:
    """Encode an edge map as a PNG: of one bit a pixel for ``bool [height, width]``, of eight bits
    for ``uint8 [channels, side, side]``, with the channels below each other.

    Raises ``ValueError`` for another shape or type.
    """
    if edges.dtype == np.bool_ and edges.ndim == 2 and edges.size:
        _, png = cv2.imencode(".png", edges.astype(np.uint8) * 255, _ONE_BIT)
    elif edges.dtype == np.uint8 and edges.ndim == 3 and edges.shape[1] == edges.shape[2] > 0:
        _, png = cv2.imencode(".png", edges.reshape(-1, edges.shape[2]).view(np.uint8), _EIGHT_BITS)
    else:
        raise ValueError(
            f"edges must be bool [height, width] or uint8 [channels, side, side], "
            f"not {edges.dtype} {edges.shape}"
        )
    return png.tobytes()


def given_edges(rgb: NDArray[np.uint8], size_px: int) -> NDArray[np.bool_]:
    """Convert an edge map that a dataset brings along.

    Its lines may be bright on dark or dark on bright; the rarer of the two counts as the lines.
    When the map shrinks, a pixel is an edge if lines cover more than a quarter of it, so that thin
    lines stay.

    Args:
        rgb: the decoded map, ``uint8 [height, width, 3]``.
        size_px: side of the square edge map, in pixels.

    Returns:
        ``bool [size_px, size_px]``.
    """
    grey = rgb.mean(axis=2).astype(np.float32) / 255
    if grey.mean() > 0.5:
        grey = 1 - grey
    height, width = (min(side, size_px) for side in grey.shape)
    # First what is too large is averaged, then what is too small is enlarged: OpenCV averages no
    # side of a picture that grows on the other one.
    shrunk = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(shrunk, (size_px, size_px)) > 0.25)


def decode_edges(png: bytes) -> EdgeMap:
    """Decode an edge map that ``encode_edges`` made.

    Raises ``ValueError`` for bytes that are not a complete PNG.
    """
    image = None
    if png.startswith(_PNG_START) and png.endswith(_PNG_END):
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    if image is None:
        raise ValueError("the bytes are not a PNG edge map")
    if png[_BIT_DEPTH] == 1:
        return image > 127
    return np.asarray(image.reshape(-1, image.shape[1], image.shape[1]), np.uint8)


def drawing(edges: EdgeMap) -> NDArray[np.uint8]:
    """A map of pixels as a picture of dark lines on white, ``uint8 [side, side, 3]``."""
    lines = edges * np.uint8(255) if edges.dtype == np.bool_ else edges[0]
    return np.repeat((255 - lines)[..., None], 3, axis=2).astype(np.uint8)


def branch_input(edges: EdgeMap) -> NDArray[np.float32]:
    """An edge map as the edge branch reads it: ``[channels, side, side]`` in [0, 1]."""
    if edges.dtype == np.bool_:
        return edges[None].astype(np.float32)
    return np.asarray(edges, np.float32) / np.float32(255)
