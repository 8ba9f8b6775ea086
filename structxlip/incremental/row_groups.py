"""Row groups of the pair store: the places that the later stages work on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.data.shards import shards

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BLOCK = 64  # row groups that are read at once


@dataclass(frozen=True)
class RowGroup:
    """The place of a row group; every artifact of a dataset is cut at the same places."""

    shard: str
    index: int
    pairs: int

    def read(self, directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the row group at this place from the artifact in ``directory``."""
        file = open_shard(directory / self.shard)
        return file.read_row_group(self.index, columns=list(columns) if columns else None)

    def __str__(self) -> str:
        return f"row group {self.index} of {self.shard}"


def open_shard(path: Path) -> pq.ParquetFile:
    """An open shard. It stays open a while: its footer takes longer to read than a row group."""
    return _open_shard(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(16)
def _open_shard(path: Path, modified_ns: int) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path)


def row_groups(pairs: Path) -> list[RowGroup]:
    """The row groups of a pair store, in order."""
    import pyarrow.parquet as pq

    found = []
    for path in shards(pairs):
        metadata = pq.read_metadata(path)
        found += [
            RowGroup(path.name, index, metadata.row_group(index).num_rows)
            for index in range(metadata.num_row_groups)
        ]
    return found


def read_row_groups(
    directory: Path, groups: Sequence[RowGroup], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The tables of row groups of a pair store, in order; several are read at once."""
    for shard, members in groupby(groups, key=lambda group: group.shard):
        of_shard = list(members)
        for start in range(0, len(of_shard), BLOCK):
            block = of_shard[start : start + BLOCK]
            file = open_shard(directory / shard)
            rows = file.read_row_groups([group.index for group in block], columns=list(columns))
            for group in block:
                yield rows.slice(0, group.pairs)
                rows = rows.slice(group.pairs)
