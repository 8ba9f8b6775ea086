"""The store of edge maps, in the order of the pair store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues import branch_input, decode_edges
from structxlip.data.shards import read_shards
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


def cues_of(directory: Path) -> list[str]:
    """The cues of the maps with structure in ``data/<dataset>/edges``, in alphabetical order."""
    table = read_shards(directory, ["cue", "has_structure"])
    return sorted(set(table.filter(table["has_structure"])["cue"].to_pylist()))


class Column:
    """The values of a column, by their number. Its chunks stay apart: joined, they could pass the
    2 GiB that Arrow's offsets reach."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self.chunks = column.chunks
        self.starts = np.cumsum([0, *map(len, self.chunks)])

    def __getitem__(self, row: int) -> Any:
        chunk = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.chunks[chunk][row - int(self.starts[chunk])].as_py()


class EdgeMaps:
    """The edge maps of a dataset, kept as PNG.

    Args:
        directory: the artifact ``data/<dataset>/edges``.
        ids: of the pairs, ``[N]``; ``UserError`` when the artifact holds other pairs.

    Attributes:
        has_structure: ``bool [N]``, whether a map enters the losses.
        channels: of a map: 1, or the bins of cells.
    """

    plain_captions = False  # the branch is trained with structural captions; see ``View``

    def __init__(self, directory: Path, ids: NDArray[np.str_]) -> None:
        table = read_shards(directory, ["id", "edges", "has_structure", "regions"])
        if table["id"].to_pylist() != ids.tolist():
            raise UserError(f"{directory} does not fit the features; run `dvc repro`")
        self.png, self.regions = Column(table["edges"]), Column(table["regions"])
        self.has_structure = np.array(table["has_structure"].to_pylist(), np.bool_)
        self.channels = len(branch_input(decode_edges(self.png[0])))

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The maps of some pairs, ``[n, channels, S, S]`` in [0, 1]; one without structure is all
        0."""
        maps = np.stack([branch_input(decode_edges(self.png[row])) for row in rows.tolist()])
        maps[~self.has_structure[rows]] = 0
        return maps

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side_px: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The first ``most`` regions of each map, resized, and which of them there are.

        Args:
            rows: the pairs, ``[n]``.
            maps: ``self.maps(rows)``.
            most: regions of each map.
            side_px: side of a crop.

        Returns:
            Crops ``[n, most, 1, side_px, side_px]`` in [0, 1], and the mask ``[n, most]``. A map
            without structure has no region.
        """
        crops = np.zeros((len(rows), most, 1, side_px, side_px), np.float32)
        mask = np.zeros((len(rows), most), np.bool_)
        for i, row in enumerate(rows.tolist()):
            regions = self.regions[row] if self.has_structure[row] else []
            for k, box in enumerate(regions[:most]):
                part = maps[i, 0, box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]]
                shrinks = min(part.shape) > side_px
                method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                crops[i, k, 0] = cv2.resize(part, (side_px, side_px), interpolation=method)
                mask[i, k] = True
        return crops, mask
