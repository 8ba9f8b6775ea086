"""A parallel map over units of work: in this process where that is faster, else on Ray Data."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from structxlip.errors import UserError
from structxlip.progress import progress
from structxlip.ray_session import core_noise_filtered, ray_session

if TYPE_CHECKING:
    import pyarrow as pa

Unit = TypeVar("Unit")
Worker = Callable[[Unit], "pa.Table"]
MAX_ATTEMPTS = 3
RAY_START_S = 10.0  # time to start Ray, with a worker on each processor
TRIAL_S = 1.0  # work in this process for so long, then estimate the time that is left


def map_units(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit]],
    *,
    description: str,
    samples: Callable[[Unit], int],
    name: Callable[[Unit], str],
) -> Generator[pa.Table, None, None]:
    """Apply a worker to units of work on all processors; yield the tables in order.

    Work begins in this process. It stays here when the rest would take less time than Ray takes to
    start. A unit over which a Ray worker dies is tried again, ``MAX_ATTEMPTS`` times in all.

    Args:
        units: small descriptions of work, such as places that a worker reads itself.
        make_worker: is called once in each process, for what is slow to load.
        description: of the progress.
        samples: how many samples a unit holds, for the progress.
        name: what to call a unit in a message.

    Raises ``UserError`` when all attempts at a unit failed, and any ``UserError`` of a worker.
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
            del worker  # every Ray worker loads its own
            yield from map_on_ray(units[index:], make_worker, name)
            return
        started = time.monotonic()
        table = worker(unit)
        spent_s += time.monotonic() - started
        yield table
        done, left = done + samples(unit), left - samples(unit)
        left_s = spent_s * left / max(done, 1)


def map_on_ray(
    units: Sequence[Unit],
    make_worker: Callable[[], Worker[Unit]],
    name: Callable[[Unit], str],
) -> Iterator[pa.Table]:
    """Apply a worker to all units through Ray Data, on the processors of a Ray session."""
    with ray_session() as cpus, core_noise_filtered():
        import ray

        context = ray.data.DataContext.get_current()
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # after Ray has set it up
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        attempts = ray.remote(num_cpus=0)(_AttemptCounter).remote()
        items = [
            {"index": index, "name": name(unit), "unit": pickle.dumps(unit)}
            for index, unit in enumerate(units)
        ]
        dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
            _RayWorker,  # type: ignore[arg-type]
            fn_constructor_args=(make_worker, attempts, Path.cwd()),
            compute=ray.data.ActorPoolStrategy(size=min(cpus, len(units))),
            num_cpus=1,
        )
        rows = iter(dataset.iter_rows())
        try:
            for row in rows:
                if error := row["error"]:
                    raise pickle.loads(error)
                yield _from_bytes(row["table"])
        finally:
            # Drain the iterator: a thread of Ray that outlives the session ends the process.
            attempts.stop.remote()  # type: ignore[attr-defined]
            for _ in rows:
                pass


class _AttemptCounter:
    """Counts how often each unit was begun. Ray itself would try for ever."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.stopped = False

    def begin(self, index: int) -> int:
        """The number of this attempt at a unit, from 1; 0 when the map has stopped."""
        self.counts[index] += 1
        return 0 if self.stopped else self.counts[index]

    def stop(self) -> None:
        self.stopped = True


class _RayWorker:
    """The worker in a process of Ray Data."""

    def __init__(self, make_worker: Callable[[], Worker[Any]], attempts: Any, folder: Path) -> None:
        os.chdir(folder)  # paths in the parameters are relative to it
        self.worker, self.attempts = make_worker(), attempts

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        unit = pickle.loads(row["unit"])
        try:
            if not self._begin(row["index"], row["name"]):
                return {"table": b"", "error": b""}
            return {"table": _to_bytes(self.worker(unit)), "error": b""}
        except UserError as error:  # Ray would pass on its text alone
            return {"table": b"", "error": pickle.dumps(error)}

    def _begin(self, index: int, name: str) -> bool:
        import ray

        attempt: int = ray.get(self.attempts.begin.remote(index))
        if attempt > MAX_ATTEMPTS:
            raise UserError(
                f"{MAX_ATTEMPTS} workers died over {name}, most often for want of memory; give "
                f"them more of it, or let fewer run at once"
            )
        return attempt > 0


def _to_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue().to_pybytes()


def _from_bytes(data: bytes) -> pa.Table:
    import pyarrow as pa

    return pa.ipc.open_stream(data).read_all()
