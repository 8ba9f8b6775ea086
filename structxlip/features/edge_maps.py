"""The store of edge maps, in the order of the pair store."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues import decode_edges
from structxlip.data.shards import shards
from structxlip.errors import UserError


class EdgeMaps:
    """The edge maps of a dataset, kept as 1-bit PNG.

    Args:
        directory: the artifact ``data/<dataset>/edges``.
        ids: of the pairs, ``[N]``; ``UserError`` when the artifact holds other pairs.

    Attributes:
        has_structure: ``bool [N]``, whether a map enters the losses.
    """

    plain_captions = False  # the branch is trained with structural captions; see ``View``

    def __init__(self, directory: Path, ids: NDArray[np.str_]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = ["id", "edges", "has_structure", "regions"]
        table = pa.concat_tables(pq.read_table(p, columns=columns) for p in shards(directory))
        if not np.array_equal(table["id"].to_numpy(), ids):
            raise UserError(f"{directory} does not fit the features; run `dvc repro`")
        self.png = table["edges"].combine_chunks()
        self.regions = table["regions"].combine_chunks()
        self.has_structure: NDArray[np.bool_] = table["has_structure"].to_numpy()

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The maps of some pairs, ``[n, 1, S, S]`` in {0, 1}; a map without structure is all 0."""
        maps = np.stack([decode_edges(self.png[row].as_py()) for row in rows.tolist()])
        return (maps & self.has_structure[rows, None, None])[:, None].astype(np.float32)

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
            regions = self.regions[row].as_py() if self.has_structure[row] else []
            for k, box in enumerate(regions[:most]):
                part = maps[i, 0, box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]]
                shrinks = min(part.shape) > side_px
                method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                crops[i, k, 0] = cv2.resize(part, (side_px, side_px), interpolation=method)
                mask[i, k] = True
        return crops, mask
