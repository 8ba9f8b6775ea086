"""Regions of an image from its edge map alone: connected structure, as boxes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

# Structure is what edges connect once gaps of so many pixels of a map of 128 are closed: parts of
# things at the smallest, things and groups of them at the largest.
GAPS = (1, 3, 7, 13)
MIN_SIDE, MAX_AREA = 0.06, 0.9  # of the side and of the area of the map
MAX_OVERLAP = 0.6


class Region(NamedTuple):
    """A box in pixels of the edge map, and the number of edge pixels in it: its edge energy."""

    x: int
    y: int
    w: int
    h: int
    score: float


def edge_regions(
    edges: NDArray[np.bool_],
    max_regions: int = 8,
    boxes: Sequence[tuple[float, float, float, float]] = (),
) -> list[Region]:
    """Up to ``max_regions`` boxes of connected structure in a map, ``bool [height, width]``.

    Components at several closing scales are candidates or, where a dataset has them, its own
    ``boxes``: x, y, w, h as fractions of the image. Of those that overlap by an intersection over
    union of more than ``MAX_OVERLAP`` the one with the higher edge energy stays. In falling order
    of energy. Raises ``ValueError`` for anything but a boolean map and a positive number.
    """
    if edges.dtype != np.bool_ or edges.ndim != 2 or not edges.size:
        raise ValueError(f"edges must be bool [height, width], not {edges.dtype} {edges.shape}")
    if max_regions < 1:
        raise ValueError(f"max_regions must be positive, not {max_regions}")
    if boxes:
        candidates = {_pixels(box, edges.shape) for box in boxes}
    else:
        candidates = {box for gap in GAPS for box in _components(edges, gap)}
    energy = cv2.integral(edges.astype(np.uint8))
    scored = [
        Region(x, y, w, h, float(
            energy[y + h, x + w] - energy[y, x + w] - energy[y + h, x] + energy[y, x]
        ))
        for x, y, w, h in candidates
    ]  # fmt: skip
    kept: list[Region] = []
    for region in sorted(scored, key=lambda r: (-r.score, r.w * r.h, r)):
        if len(kept) == max_regions:
            break
        if all(overlap(region, other) <= MAX_OVERLAP for other in kept):
            kept.append(region)
    return kept


def overlap(a: Region, b: Region) -> float:
    """Intersection over union of two boxes, between 0 and 1."""
    width = min(a.x + a.w, b.x + b.w) - max(a.x, b.x)
    height = min(a.y + a.h, b.y + b.h) - max(a.y, b.y)
    shared = max(width, 0) * max(height, 0)
    return shared / (a.w * a.h + b.w * b.h - shared)


def _pixels(
    box: tuple[float, float, float, float], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """The pixels of a map that a box touches, at least one."""
    height, width = shape
    (left, right), (top, bottom) = (
        (
            min(max(floor(start * side), 0), side - 1),
            min(max(ceil((start + length) * side), 1), side),
        )
        for start, length, side in ((box[0], box[2], width), (box[1], box[3], height))
    )
    return left, top, max(right - left, 1), max(bottom - top, 1)


def _components(edges: NDArray[np.bool_], gap: int) -> list[tuple[int, int, int, int]]:
    height, width = edges.shape
    size = max(round(gap * max(height, width) / 128), 1)
    kernel = np.ones((size, size), np.uint8)
    closed = cv2.morphologyEx(edges.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    _, _, stats, _ = cv2.connectedComponentsWithStats(closed, connectivity=8)
    boxes = [(int(x), int(y), int(w), int(h)) for x, y, w, h, _ in stats[1:]]
    return [
        (x, y, w, h)
        for x, y, w, h in boxes
        if min(w / width, h / height) >= MIN_SIDE and w * h <= MAX_AREA * width * height
    ]
