"""Row groups of the pair store, and work on them through Ray Data."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from structxlip.data.pairs import shards
from structxlip.errors import UserError
from structxlip.progress import progress
from structxlip.ray_session import ray_session

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Unit = TypeVar("Unit")
Worker = Callable[[Unit], "pa.Table"]
BLOCK = 64  # row groups that are read at once
MAX_ATTEMPTS = 3
RAY_START_S = 10.0  # with a worker on each processor
TRIAL_S = 1.0  # until the pace of the work can be told


@dataclass(frozen=True)
class RowGroup:
    """A row group of an artifact; every artifact of a dataset is cut at the same places."""

    shard: str
    index: int
    pairs: int

    def read(self, directory: Path, columns: Sequence[str] | None = None) -> pa.Table:
        """Read the row group with this place from the artifact at ``directory``."""
        file = opened(directory / self.shard)
        return file.read_row_group(self.index, columns=list(columns) if columns else None)

    def __str__(self) -> str:
        return f"row group {self.index} of {self.shard}"


def opened(path: Path) -> pq.ParquetFile:
    """A shard, kept open a while: its footer takes longer to read than a row group."""
    return _opened(path.resolve(), path.stat().st_mtime_ns)


@lru_cache(16)
def _opened(path: Path, modified_ns: int) -> pq.ParquetFile:
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


def read_each(
    directory: Path, groups: Sequence[RowGroup], columns: Sequence[str]
) -> Iterator[pa.Table]:
    """The tables of row groups of a pair store, in order; several are read at once."""
    for shard, members in groupby(groups, key=lambda group: group.shard):
        of_shard = list(members)
        for start in range(0, len(of_shard), BLOCK):
            block = of_shard[start : start + BLOCK]
            file = opened(directory / shard)
            rows = file.read_row_groups([group.index for group in block], columns=list(columns))
            for group in block:
                yield rows.slice(0, group.pairs)
                rows = rows.slice(group.pairs)


def map_units(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit]],
    *,
    description: str,
    samples: Callable[[Unit], int],
    name: Callable[[Unit], str] = str,
) -> Generator[pa.Table, None, None]:
    """Run a worker over units of work, on all processors of a Ray session; yield in order.

    ``make_worker`` is called once in each process, for what is slow to load; ``samples`` counts
    those of a unit for the progress, ``name`` tells the user which it is. Units should be small:
    places, which workers read themselves. Work begins in this process, and goes on there when what
    is left would not take longer than Ray takes to start. Work over which a worker of Ray dies is
    tried again, ``MAX_ATTEMPTS`` times in all.

    Raises ``UserError`` when that was in vain, and a ``UserError`` of a worker as itself.
    """
    if not units:
        return
    with progress(description, sum(map(samples, units))) as advance:
        for unit, table in zip(units, _tables(units, make_worker, samples, name), strict=True):
            yield table
            advance(samples(unit))


def _tables(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit]],
    samples: Callable[[Unit], int],
    name: Callable[[Unit], str],
) -> Iterator[pa.Table]:
    worker = make_worker()
    left_s, spent_s, done, left = 0.0, 0.0, 0, sum(map(samples, units))
    for index, unit in enumerate(units):
        if spent_s > TRIAL_S and left_s > RAY_START_S:
            del worker  # what it has loaded is loaded by every worker there
            yield from on_ray(units[index:], make_worker, name)
            return
        started = time.monotonic()
        table = worker(unit)
        spent_s += time.monotonic() - started
        yield table
        done, left = done + samples(unit), left - samples(unit)
        left_s = spent_s * left / max(done, 1)


def on_ray(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit]],
    name: Callable[[Unit], str] = str,
) -> Iterator[pa.Table]:
    """The part of ``map_units`` that is Ray Data: all units on the processors of its session."""
    with ray_session() as cpus:
        import ray

        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # after Ray has set it up
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        attempts = ray.remote(num_cpus=0)(_Attempts).remote()
        items = [{"name": name(unit), "unit": pickle.dumps(unit)} for unit in units]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _Actor,  # type: ignore[arg-type]
            fn_constructor_args=(make_worker, attempts, Path.cwd()),
            compute=ray.data.ActorPoolStrategy(size=min(cpus, len(units))),
            num_cpus=1,
        )
        rows = iter(dataset.iter_rows())
        try:
            for row in rows:
                if refused := row["refused"]:
                    raise pickle.loads(refused)
                yield _table(row["table"])
        finally:  # to the end: a thread of Ray that outlives the session takes the process with it
            attempts.stop.remote()  # type: ignore[attr-defined]
            for _ in rows:
                pass


class _Attempts:
    """Counts how often each unit was begun: Ray itself would try for ever."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.stopped = False

    def begin(self, name: str) -> int:
        """Which attempt this is, from 1; 0 when nothing more is to be done."""
        self.counts[name] += 1
        return 0 if self.stopped else self.counts[name]

    def stop(self) -> None:
        self.stopped = True


class _Actor:
    """What Ray Data keeps alive in each process."""

    def __init__(self, make_worker: Callable[[], Worker[Any]], attempts: Any, folder: Path) -> None:
        os.chdir(folder)  # paths in the parameters are seen from there
        self.worker, self.attempts = make_worker(), attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit = pickle.loads(row["unit"])
        try:
            if not self._begin(row["name"]):
                return {"table": b"", "refused": b""}
            return {"table": _bytes(self.worker(unit)), "refused": b""}
        except UserError as error:  # Ray would pass on its text alone
            return {"table": b"", "refused": pickle.dumps(error)}

    def _begin(self, name: str) -> bool:
        import ray

        attempt: int = ray.get(self.attempts.begin.remote(name))
        if attempt > MAX_ATTEMPTS:
            raise UserError(
                f"{MAX_ATTEMPTS} workers died over {name}, most often for want of memory; give "
                f"them more of it, or let fewer run at once"
            )
        return attempt > 0


def _bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _table(data: bytes) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()
