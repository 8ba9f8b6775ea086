"""Artifacts with rows for every pair, `edges` and `captions`: only what is new is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from structxlip.data.pairs import Rejected, write_quarantine
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, atomic_directory
from structxlip.stages.made import KEY, KEY_BYTES, Made, key, link_or_copy
from structxlip.stages.row_groups import RowGroup, map_units, read_each, row_groups

if TYPE_CHECKING:
    import pyarrow as pa

ERROR = "error"
Make = Callable[[RowGroup, list[int]], "pa.Table"]
Unit = list[tuple[RowGroup, list[int]]]


@dataclass(frozen=True)
class Derivation:
    """How an artifact is made from the pair store.

    ``identify`` makes what identifies the samples of a row group, one a row of the artifact, from
    ``columns`` of the store, and ``sources`` the bytes that each is made from, from
    ``source_columns``. ``make_worker``, called once in each process, returns what makes the other
    columns for some of these rows, and ``error``: null where all went well. ``failed`` is the word
    for the others in the quarantine. ``signature`` stands for all else that rows depend on; without
    one no row of an earlier run is taken. ``unit`` is the number of samples that are worth sending
    to a worker.
    """

    stage: str
    columns: tuple[str, ...]
    identify: Callable[[pa.Table], pa.Table]
    source_columns: tuple[str, ...]
    sources: Callable[[pa.Table], list[bytes]]
    make_worker: Callable[[], Make]
    failed: str
    signature: str | None
    unit: int


@dataclass(frozen=True)
class _Planned:
    """A row group, the keys of its samples, and where an earlier run has them (-1: nowhere)."""

    group: RowGroup
    keys: bytes
    places: NDArray[np.int64]

    @property
    def missing(self) -> list[int]:
        found: list[int] = np.flatnonzero(self.places < 0).tolist()
        return found


def derive(derivation: Derivation, dataset: str, *, max_bad_fraction: float) -> None:
    """Write ``data/<dataset>/<stage>``, cut like the pair store.

    Rows of an earlier run are taken for samples that are made from the same bytes, and whole shards
    where nothing has changed. Samples that fail are listed in ``quarantine.parquet``; ``UserError``
    when they are more than ``max_bad_fraction`` of all.
    """
    stage, pairs = derivation.stage, DATA / dataset / "pairs"
    groups = row_groups(pairs)
    made = Made(stage, dataset, derivation.signature)
    plan = []
    tables = read_each(pairs, groups, derivation.source_columns)
    for group, rows in zip(groups, tables, strict=True):
        keys = b"".join(map(key, derivation.sources(rows)))
        plan.append(_Planned(group, keys, made.find(keys)))
    units = cut(((planned.group, planned.missing) for planned in plan), derivation.unit)
    total, new = sum(len(planned.places) for planned in plan), sum(map(samples_of, units))
    if new < total:
        say(f"{stage} {dataset}: {total - new:,} of {total:,} samples are as they were")
    made_now = map_units(
        units,
        partial(make_unit_worker, derivation.make_worker),
        description=f"{stage} {dataset}",
        samples=samples_of,
        name=name_of,
    )
    fresh = _Stream(made_now)
    again = read_each(pairs, groups, derivation.columns)
    rejected: list[Rejected] = []

    def rows_of(planned: _Planned, samples: pa.Table) -> pa.Table:
        rows = _merged(planned, made, fresh, samples.column_names)
        errors = rows[ERROR].to_pylist()
        for name, error in zip(samples["id"].to_pylist(), errors, strict=True):
            if error is not None:
                rejected.append(Rejected(name, derivation.failed, error))
        if len(rejected) > max_bad_fraction * total:
            raise UserError(
                f"{len(rejected)} of {total} samples have failed, more than "
                f"ingest.max_bad_fraction {max_bad_fraction:g} allows; the first is "
                f"{rejected[0].id}: {rejected[0].detail}"
            )
        return _joined(samples, rows, _keys(planned.keys, errors))

    with atomic_directory(DATA / dataset / stage) as directory, closing(made_now):
        for shard, of_shard in groupby(plan, key=lambda planned: planned.group.shard):
            members = list(of_shard)
            samples = [derivation.identify(next(again)) for _ in members]
            earlier = made.whole([planned.keys for planned in members], samples)
            if earlier is not None:
                link_or_copy(earlier, directory / shard)
            else:
                _write(map(rows_of, members, samples), directory / shard)
            made.keep(directory / shard)
        fresh.finish()
        write_quarantine(rejected, directory)
    made.forget_older()


def cut(missing: Iterable[tuple[RowGroup, list[int]]], size: int) -> list[Unit]:
    """The rows that are missing, in units of about this size; the first is a row group alone,
    which is done to see how long it takes."""
    units: list[Unit] = []
    for group, rows in missing:
        if rows and (len(units) < 2 or samples_of(units[-1]) >= size):
            units.append([(group, rows)])
        elif rows:
            units[-1].append((group, rows))
    return units


def samples_of(unit: Unit) -> int:
    return sum(len(rows) for _, rows in unit)


def name_of(unit: Unit) -> str:
    first, last = unit[0][0], unit[-1][0]
    return str(first) if first == last else f"{first} to {last}"


def make_unit_worker(make_worker: Callable[[], Make]) -> Callable[[Unit], pa.Table]:
    import pyarrow as pa

    make = make_worker()
    return lambda unit: pa.concat_tables([make(group, rows) for group, rows in unit])


class _Stream:
    """Rows of tables as they come, however they are cut."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.tables = tables
        self.table: pa.Table | None = None

    def take(self, rows: int) -> list[pa.Table]:
        """Tables with the next so many rows together."""
        taken = []
        while rows:
            if not self.table:
                self.table = next(self.tables)
            taken.append(self.table.slice(0, rows))
            self.table = self.table.slice(rows)
            rows -= taken[-1].num_rows
        return taken

    def finish(self) -> None:
        """Let what makes the tables come to its end."""
        assert not self.table
        assert next(self.tables, None) is None


def _merged(planned: _Planned, made: Made, fresh: _Stream, identity: list[str]) -> pa.Table:
    """What is made of the samples of a row group, in order: the rows of an earlier run and the
    fresh ones, with an ``error`` and without what identifies them."""
    import pyarrow as pa

    known = np.flatnonzero(planned.places >= 0)
    parts = fresh.take(len(planned.missing))
    if len(known):
        earlier = made.rows(planned.places[known]).drop_columns([*identity, KEY])
        parts.append(earlier.append_column(ERROR, pa.nulls(len(known), pa.string())))
    order = np.argsort(np.concatenate([planned.missing, known]))
    return pa.concat_tables(parts).take(order)


def _joined(samples: pa.Table, rows: pa.Table, keys: pa.Array) -> pa.Table:
    for name in rows.column_names:
        if name != ERROR:
            samples = samples.append_column(rows.field(name), rows[name])
    return samples.append_column(KEY, keys)


def _keys(keys: bytes, errors: list[str | None]) -> pa.Array:
    """The keys of samples, null where one failed: the next run tries again."""
    import pyarrow as pa

    each = (keys[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in range(len(errors)))
    kept = [None if error is not None else k for k, error in zip(each, errors, strict=True)]
    return pa.array(kept, pa.binary(KEY_BYTES))


def _write(row_groups: Iterator[pa.Table], shard: Path) -> None:
    """Write tables as the row groups of a shard, as they come."""
    import pyarrow.parquet as pq

    first = next(row_groups)
    # No dictionaries: hardly any value comes again, and to find that out takes time.
    with pq.ParquetWriter(shard, first.schema, compression="zstd", use_dictionary=False) as writer:
        for table in chain([first], row_groups):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
