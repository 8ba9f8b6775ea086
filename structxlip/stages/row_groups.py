"""The pair store through Ray Data: one task a row group, results streamed back in order."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.data.pairs import shards
from structxlip.progress import progress
from structxlip.ray_session import ray_session, users_own

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class RowGroup:
    """A row group of an artifact; every artifact of a dataset is cut at the same places."""

    shard: str
    index: int

    def read(self, directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the row group with this place from the artifact at ``directory``."""
        import pyarrow.parquet as pq

        with pq.ParquetFile(directory / self.shard) as file:
            return file.read_row_group(self.index, columns=list(columns) if columns else None)


Worker = Callable[[RowGroup], "pa.Table"]


def map_row_groups(
    pairs: Path, make_worker: Callable[[], Worker], *, description: str
) -> Iterator[tuple[RowGroup, pa.Table]]:
    """Run a worker over all row groups of a pair store on all processors; yield in order.

    ``make_worker`` is called once in each process, for what is slow to load. Only places travel to
    the workers, which read for themselves. A ``UserError`` of a worker is raised as itself.
    """
    import pyarrow.parquet as pq

    groups: list[dict[str, Any]] = []
    for path in shards(pairs):
        metadata = pq.read_metadata(path)
        for index in range(metadata.num_row_groups):
            rows = metadata.row_group(index).num_rows
            groups.append({"shard": path.name, "index": index, "rows": rows})
    total = sum(group["rows"] for group in groups)
    with ray_session() as cpus, progress(description, total) as advance:
        for group, row in zip(groups, _results(groups, make_worker, cpus), strict=True):
            yield RowGroup(group["shard"], group["index"]), _table(row["table"])
            advance(group["rows"])


def write_row_groups(
    results: Iterator[tuple[RowGroup, pa.Table]], directory: Path
) -> Iterator[pa.Table]:
    """Write tables as shards that mirror those of the pair store; yield each when written."""
    import pyarrow.parquet as pq

    writer, shard = None, ""
    try:
        for group, table in results:
            if writer is None or group.shard != shard:
                if writer is not None:
                    writer.close()
                shard = group.shard
                writer = pq.ParquetWriter(directory / shard, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
            yield table
    finally:
        if writer is not None:
            writer.close()


def _results(
    groups: list[dict[str, Any]], make_worker: Callable[[], Worker], cpus: int
) -> Iterator[dict[str, Any]]:
    import ray

    context = ray.data.DataContext.get_current()
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # after Ray has set it up
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    workers = min(cpus, len(groups))
    dataset = ray.data.from_items(groups, override_num_blocks=len(groups)).map(
        _Actor,  # type: ignore[arg-type]
        fn_constructor_args=(make_worker, Path.cwd()),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        yield from dataset.iter_rows()
    except ray.exceptions.RayError as error:
        raise users_own(error) or error from None


class _Actor:
    """What Ray Data keeps alive in each process."""

    def __init__(self, make_worker: Callable[[], Worker], folder: Path) -> None:
        os.chdir(folder)  # paths in the parameters are seen from there
        self.worker = make_worker()

    def __call__(self, group: dict[str, Any]) -> dict[str, Any]:
        table = self.worker(RowGroup(group["shard"], int(group["index"])))
        return {"table": _bytes(table)}


def _bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _table(data: bytes) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()
