"""Measure how much structure an edge map has: blank and saturated maps must not enter a loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges


def edge_density(edges: NDArray[np.bool_]) -> float:
    """The share of edge pixels in an edge map, ``bool [height, width]``, from 0 to 1."""
    return float(np.count_nonzero(edges) / edges.size)


def has_structure(density: float, *, min_density: float = 0.005, max_density: float = 0.5) -> bool:
    """Whether an edge map of this density is neither blank nor saturated, nor nearly so.

    Edge maps of photographs, products and scans have densities from 0.01 to 0.3 at 128 pixels.

    Args:
        density: share of edge pixels, from ``edge_density``.
        min_density: lowest density with structure.
        max_density: highest density with structure.
    """
    return min_density <= density <= max_density


def usable_map(edges: NDArray[np.bool_], settings: Edges) -> bool:
    """Whether an edge map has enough structure, and not too much, to enter a loss."""
    return has_structure(
        edge_density(edges),
        min_density=settings.min_density,
        max_density=settings.max_density,
    )
