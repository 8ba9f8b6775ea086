"""Parquet shards: the form of the pair store, and of every artifact that is cut like it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_PAIRS = 64  # the unit of work of the later stages


def shards(directory: Path) -> list[Path]:
    """The Parquet shards of an artifact, in order; ``UserError`` when there is none."""
    paths = sorted(directory.glob("part-*.parquet"))
    if not paths:
        raise UserError(f"{directory} holds no shards; run the stage that makes them (`dvc repro`)")
    return paths


def read_shards(directory: Path, columns: list[str]) -> pa.Table:
    """Some columns of all shards of an artifact. (``read_table`` would import pandas, for 1 s.)"""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pa.concat_tables(pq.ParquetFile(path).read(columns) for path in shards(directory))


def pair_schema() -> pa.Schema:
    """The columns of ``data/<dataset>/pairs``."""
    import pyarrow as pa

    box = pa.struct([*((side, pa.int32()) for side in "xywh"), ("label", pa.string())])
    return pa.schema(
        [
            ("id", pa.string()),
            ("split", pa.string()),
            ("group", pa.string()),
            ("image", pa.binary()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("captions", pa.list_(pa.string())),
            ("source", pa.string()),
            ("sha256", pa.string()),
            ("boxes", pa.list_(box)),
            ("edges", pa.binary()),  # an encoded map that the source brings along
        ]
    )


class ShardWriter:
    """Writes rows as Parquet shards of at most ``shard_bytes``, in row groups of a fixed size."""

    def __init__(self, directory: Path, schema: pa.Schema, shard_bytes: int) -> None:
        self.directory, self.schema, self.shard_bytes = directory, schema, shard_bytes
        self.rows: list[dict[str, Any]] = []
        self.writer: Any = None
        self.written_bytes = self.shards = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._flush()
        if self.writer is not None:
            self.writer.close()

    def add(self, row: dict[str, Any]) -> None:
        """Add one row; a full row group goes to disk."""
        self.rows.append(row)
        if len(self.rows) == ROW_GROUP_PAIRS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.rows:
            return
        table = pa.Table.from_pylist(self.rows, schema=self.schema)
        self.rows = []
        if self.writer is not None and self.written_bytes + table.nbytes > self.shard_bytes:
            self.writer.close()
            self.writer = None
        if self.writer is None:
            path = self.directory / f"part-{self.shards:05d}.parquet"
            self.writer = pq.ParquetWriter(path, self.schema, compression="zstd")
            self.shards, self.written_bytes = self.shards + 1, 0
        self.writer.write_table(table)
        self.written_bytes += table.nbytes
