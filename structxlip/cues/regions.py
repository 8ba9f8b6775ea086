"""Regions of an image from its edge map alone: connected structure, as boxes."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

# Structure is what edges connect: in the map itself, for the parts of things, and on coarser grids
# of so many cells a side, where gaps of a cell or two are closed, for things and groups of them.
GRIDS = (64, 32)
CLOSED = 3  # cells
MIN_SIDE, MAX_AREA = 0.06, 0.9  # of the side and of the area of the map
MAX_OVERLAP = 0.6


class Region(NamedTuple):
    """A box in pixels of the edge map, and the number of edge pixels in it: its edge energy."""

    x: int
    y: int
    w: int
    h: int
    score: int


def edge_regions(
    edges: NDArray[np.bool_],
    max_regions: int = 8,
    boxes: Sequence[tuple[float, float, float, float]] = (),
) -> list[Region]:
    """Up to ``max_regions`` boxes of connected structure in a map, ``bool [height, width]``.

    Components at several closing scales are candidates or, where a dataset has them, its own
    ``boxes``: x, y, w, h as fractions of the image. Of those that overlap by an intersection over
    union of more than ``MAX_OVERLAP`` the one with the higher edge energy stays. In falling order
    of energy. Raises ``ValueError`` for a map that is not boolean and a negative number.
    """
    if edges.dtype != np.bool_ or edges.ndim != 2 or not edges.size:
        raise ValueError(f"edges must be bool [height, width], not {edges.dtype} {edges.shape}")
    if max_regions < 0:
        raise ValueError(f"max_regions must not be negative, but is {max_regions}")
    if not max_regions:
        return []
    found = np.array([_pixels(box, edges.shape) for box in boxes]) if boxes else _components(edges)
    if not len(found):
        return []
    x, y, w, h = found.T
    integral = cv2.integral(edges.astype(np.uint8))
    energy = integral[y + h, x + w] - integral[y, x + w] - integral[y + h, x] + integral[y, x]
    order = np.lexsort((x, y, w, h, w * h, -energy))
    kept: list[Region] = []
    for region in map(Region._make, np.column_stack([found, energy])[order].tolist()):
        if all(overlap(region, other) <= MAX_OVERLAP for other in kept):
            kept.append(region)
            if len(kept) == max_regions:
                break
    return kept


def overlap(a: Region, b: Region) -> float:
    """Intersection over union of two boxes, between 0 and 1."""
    # In plain arithmetic: this is where the time would go.
    left, right = max(a.x, b.x), min(a.x + a.w, b.x + b.w)
    top, bottom = max(a.y, b.y), min(a.y + a.h, b.y + b.h)
    if left >= right or top >= bottom:
        return 0.0
    shared = (right - left) * (bottom - top)
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


def _components(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The boxes ``[n, 4]`` of connected structure at all scales, in pixels of the map."""
    pixels, sides = edges.astype(np.uint8), np.array(edges.shape[::-1])
    corners = [_boxes(pixels, max(round(sides.max() / 128), 1))]
    for cells in GRIDS:
        grid: MatLike = pixels
        grid_sides = np.minimum(sides, cells)
        if (grid_sides < sides).any():
            grid = cv2.resize(255 * pixels, grid_sides, interpolation=cv2.INTER_AREA)
            grid = (grid > 0).astype(np.uint8)
        corners.append(_boxes(grid, CLOSED) * np.tile(sides / grid_sides, 2))
    left_top, right_bottom = np.hsplit(np.concatenate(corners), 2)
    left_top = np.floor(left_top).astype(np.int64)
    width_height = np.ceil(right_bottom).astype(np.int64) - left_top
    shares = width_height / sides
    usable = (shares.min(axis=1) >= MIN_SIDE) & (shares.prod(axis=1) <= MAX_AREA)
    return np.hstack([left_top, width_height])[usable]


def _boxes(grid: MatLike, closed: int) -> NDArray[np.int32]:
    """Left, top, right and bottom of each component of a map, ``[n, 4]``, once gaps are closed."""
    if closed > 1:
        grid = cv2.morphologyEx(grid, cv2.MORPH_CLOSE, np.ones((closed, closed), np.uint8))
    # Labels of 16 bits are twice as fast; a component and the gap beside it take four pixels.
    few = grid.size < 4 * 2**16
    label = cv2.CV_16U if few else cv2.CV_32S
    stats = cv2.connectedComponentsWithStats(grid, connectivity=8, ltype=label)[2][1:]
    return np.hstack([stats[:, :2], stats[:, :2] + stats[:, 2:4]])
