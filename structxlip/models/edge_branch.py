"""Edge branches of their own by the name that the recipe gives them, and what each reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from structxlip.cues import EdgeMap, branch_input, drawing
from structxlip.models.cells_encoder import CellsEncoder
from structxlip.models.edge_encoder import EdgeEncoder
from structxlip.models.towers import ImageTower


def edge_encoder(
    branch: Literal["cnn", "descriptor"], embed_dim: int, channels: int
) -> EdgeEncoder | CellsEncoder:
    """The untrained branch for maps of so many channels."""
    return CellsEncoder(embed_dim, channels) if branch == "descriptor" else EdgeEncoder(embed_dim)


class MapReader:
    """Turns edge maps into what an edge branch reads.

    Args:
        tower: the frozen image tower that reads the maps first; None for a branch that reads the
            maps themselves.
        grid: patches a side of the features of the tower.
    """

    def __init__(self, tower: ImageTower | None, grid: int = 1) -> None:
        self.tower, self.grid = tower, grid

    def __call__(self, maps: Sequence[EdgeMap]) -> NDArray[np.float32]:
        """Maps ``[n, channels, S, S]`` in [0, 1], or features ``[n, grid², Di]``, which are 0 for
        a map that is all 0."""
        if self.tower is None:
            return np.stack([branch_input(edges) for edges in maps])
        features = self.tower.encode_patches([drawing(edges) for edges in maps], self.grid)
        features[[not edges.any() for edges in maps]] = 0
        return features
