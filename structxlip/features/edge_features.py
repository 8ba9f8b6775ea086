"""Features of edge maps, computed by a frozen image tower, as inputs of the edge branch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError

FEATURES, INDEX = "features", "index.json"


class EdgeFeatures:
    """The view of the artifact ``data/<dataset>/edge_features``: features in a grid of patches.

    Args:
        directory: the artifact.
        ids: of the pairs, ``[N]``; ``UserError`` when the artifact holds other pairs or none.
        has_structure: ``bool [N]``, whether a map enters the losses.

    Attributes:
        features: ``float16 [N, P, Di]``, memory-mapped.
        channels: 1: they are made of maps of pixels.
    """

    plain_captions = False
    channels = 1

    def __init__(
        self, directory: Path, ids: NDArray[np.str_], has_structure: NDArray[np.bool_]
    ) -> None:
        try:
            same = json.loads((directory / INDEX).read_text())["ids"] == ids.tolist()
        except (OSError, KeyError, ValueError):
            same = False
        if not same:
            raise UserError(f"{directory} does not fit the features; run `dvc repro`")
        self.features = np.load(directory / f"{FEATURES}.npy", mmap_mode="r")
        self.has_structure = has_structure

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features of some pairs, ``[n, P, Di]``; those without structure are all 0."""
        found = self.features[rows].astype(np.float32)
        found[~self.has_structure[rows]] = 0
        return found

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        raise ValueError("features of a whole map have no regions")
