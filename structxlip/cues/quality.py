"""Measure how much structure an edge map has: blank, full and noisy maps must not enter a loss."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues.png import EdgeMap

CELLS = 8  # most rows and columns of cells whose densities are compared
MIN_CELL_PX = 8  # in smaller cells the density is a matter of chance


def edge_density(edges: EdgeMap) -> float:
    """The share of a map that is edge, from 0 to 1.

    Of a binary map it is the share of edge pixels. Of a soft map it is the share of pixels above a
    half, and of cells the share of those whose norm over the bins is.
    """
    if edges.dtype == np.bool_:
        return float(np.count_nonzero(edges) / edges.size)
    return float((np.linalg.norm(edges.astype(np.float32), axis=0) > 127.5).mean())


def unevenness(edges: NDArray[np.bool_]) -> float:
    """How unevenly the edges of a map, ``bool [height, width]``, lie.

    The map is cut into 8 x 8 cells, or fewer of at least 8 pixels. The result is the standard
    deviation of their densities, divided by the mean; 0 for a blank map. Edges of noise and texture
    are everywhere alike. Edges of things gather at the things.
    """
    rows, columns = (min(max(side // MIN_CELL_PX, 1), CELLS) for side in edges.shape)
    densities = cv2.resize(edges.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    return float(np.std(densities) / max(float(np.mean(densities)), 1e-6))


def has_structure(
    edges: NDArray[np.bool_],
    *,
    min_density: float = 0.005,
    max_density: float = 0.5,
    min_unevenness: float = 0.2,
) -> bool:
    """Whether an edge map, ``bool [height, width]``, is neither blank, nor full, nor noise.

    At 128 pixels, maps of photographs, products and scans have densities from 0.01 to 0.3, and
    nearly all an unevenness above 0.25. Those of noise stay below 0.2, and so do those of grass or
    gravel that fills the picture.

    Args:
        edges: the edge map.
        min_density: lowest share of edge pixels with structure.
        max_density: highest share of edge pixels with structure.
        min_unevenness: lowest ``unevenness`` with structure.
    """
    in_bounds = min_density <= edge_density(edges) <= max_density
    return in_bounds and unevenness(edges) >= min_unevenness


def usable_map(edges: EdgeMap, settings: Edges) -> bool:
    """Whether an edge map has the structure that the parameters ask for, to enter a loss.

    Of soft maps and cells only ``min_density`` is asked: they are not thinned, so that every
    picture with things in it is full of them.
    """
    if edges.dtype != np.bool_:
        return edge_density(edges) >= settings.min_density
    return has_structure(
        np.asarray(edges, np.bool_),
        min_density=settings.min_density,
        max_density=settings.max_density,
        min_unevenness=settings.min_unevenness,
    )


def usable_or_blank(edges: EdgeMap, settings: Edges) -> EdgeMap:
    """The map itself, or one of zeros where it has no structure (``usable_map``)."""
    return edges if usable_map(edges, settings) else np.zeros_like(edges)
