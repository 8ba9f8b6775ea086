"""How much structure an edge map carries: blank and saturated maps must not enter a loss."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def edge_density(edges: NDArray[np.bool_]) -> float:
    """The fraction of edge pixels in a map, ``bool [height, width]``, between 0 and 1."""
    return np.count_nonzero(edges) / edges.size


def has_structure(density: float, *, min_density: float = 0.005, max_density: float = 0.5) -> bool:
    """Whether a map of this density is neither (nearly) blank nor saturated.

    Real photographs, products and scans lie between 0.01 and 0.3 at 128 pixels.
    """
    return min_density <= density <= max_density
