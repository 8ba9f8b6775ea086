"""Find regions of an image from its edge map alone: boxes of connected structure."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

# Connected edges are found at several scales: in the map itself, for parts of objects, and on
# coarser grids with this many cells per side, for objects and groups of objects.
GRIDS = (64, 32)
CLOSING_CELLS = 3  # side of the kernel that closes gaps on a grid, in cells
MIN_SIDE, MAX_AREA = 0.06, 0.9  # limits of a region, as shares of the side and area of the map
MAX_OVERLAP = 0.6  # intersection over union


class Region(NamedTuple):
    """A box in an edge map.

    Attributes:
        x: left, in pixels of the edge map.
        y: top, in pixels.
        w: width, in pixels.
        h: height, in pixels.
        score: the edge energy, which is the number of edge pixels in the box.
    """

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
    """Find boxes of connected structure in an edge map.

    Candidates are the connected components at several scales, or the dataset's own boxes. Of two
    candidates that overlap by more than ``MAX_OVERLAP``, the one with the higher edge energy stays.

    Args:
        edges: the edge map, ``bool [height, width]``.
        max_regions: most regions.
        boxes: the dataset's own boxes, if it has any: x, y, w, h as shares of the image.

    Returns:
        Up to ``max_regions`` regions, the one with the highest edge energy first.

    Raises:
        ValueError: an edge map of another shape or type, or a negative ``max_regions``.
    """
    if edges.dtype != np.bool_ or edges.ndim != 2 or not edges.size:
        raise ValueError(f"edges must be bool [height, width], not {edges.dtype} {edges.shape}")
    if max_regions < 0:
        raise ValueError(f"max_regions must not be negative, but is {max_regions}")
    if not max_regions:
        return []
    candidates = (
        np.array([_pixel_box(box, edges.shape) for box in boxes]) if boxes else _components(edges)
    )
    if not len(candidates):
        return []
    x, y, w, h = candidates.T
    integral = cv2.integral(edges.astype(np.uint8))
    energy = integral[y + h, x + w] - integral[y, x + w] - integral[y + h, x] + integral[y, x]
    order = np.lexsort((x, y, w, h, w * h, -energy))
    kept: list[Region] = []
    for region in map(Region._make, np.column_stack([candidates, energy])[order].tolist()):
        if all(overlap(region, other) <= MAX_OVERLAP for other in kept):
            kept.append(region)
            if len(kept) == max_regions:
                break
    return kept


def overlap(a: Region, b: Region) -> float:
    """Intersection over union of two regions, from 0 to 1."""
    # Plain arithmetic: with NumPy, most of the time of the search would go here.
    left, right = max(a.x, b.x), min(a.x + a.w, b.x + b.w)
    top, bottom = max(a.y, b.y), min(a.y + a.h, b.y + b.h)
    if left >= right or top >= bottom:
        return 0.0
    shared = (right - left) * (bottom - top)
    return shared / (a.w * a.h + b.w * b.h - shared)


def _pixel_box(
    box: tuple[float, float, float, float], shape: tuple[int, ...]
) -> tuple[int, int, int, int]:
    """A box as x, y, w, h in pixels of the map: all pixels that it touches, at least one."""
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
    """The boxes of connected structure at all scales: x, y, w, h in pixels of the map, ``[n, 4]``.

    Boxes that are too small or too large are left out.
    """
    pixels, sides = edges.astype(np.uint8), np.array(edges.shape[::-1])
    corners = [_component_corners(pixels, max(round(sides.max() / 128), 1))]
    for cells in GRIDS:
        grid: MatLike = pixels
        grid_sides = np.minimum(sides, cells)
        if (grid_sides < sides).any():
            grid = cv2.resize(255 * pixels, grid_sides, interpolation=cv2.INTER_AREA)
            grid = (grid > 0).astype(np.uint8)
        corners.append(_component_corners(grid, CLOSING_CELLS) * np.tile(sides / grid_sides, 2))
    left_top, right_bottom = np.hsplit(np.concatenate(corners), 2)
    left_top = np.floor(left_top).astype(np.int64)
    width_height = np.ceil(right_bottom).astype(np.int64) - left_top
    shares = width_height / sides
    usable = (shares.min(axis=1) >= MIN_SIDE) & (shares.prod(axis=1) <= MAX_AREA)
    return np.hstack([left_top, width_height])[usable]


def _component_corners(grid: MatLike, closing: int) -> NDArray[np.int32]:
    """Left, top, right and bottom of each connected component of a grid, ``[n, 4]``, in cells.

    Gaps are closed first, with a square kernel of ``closing`` cells per side.
    """
    if closing > 1:
        grid = cv2.morphologyEx(grid, cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
    # Labels of 16 bits are twice as fast. They suffice for a small grid, because a component and
    # the gap beside it take at least four cells.
    fits_16_bits = grid.size < 4 * 2**16
    label_type = cv2.CV_16U if fits_16_bits else cv2.CV_32S
    stats = cv2.connectedComponentsWithStats(grid, connectivity=8, ltype=label_type)[2][1:]
    return np.hstack([stats[:, :2], stats[:, :2] + stats[:, 2:4]])
