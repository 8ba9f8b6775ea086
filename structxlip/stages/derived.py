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
from structxlip.stages.made import KEY, KEY_BYTES, Made, key
from structxlip.stages.row_groups import RowGroup, map_units, row_groups

if TYPE_CHECKING:
    import pyarrow as pa

ERROR = "error"
Make = Callable[[RowGroup, list[int]], "pa.Table"]
Unit = list[tuple[RowGroup, list[int]]]


@dataclass(frozen=True)
class Derivation:
    """How an artifact is made from the pair store.

    ``samples`` reads what identifies the samples of a row group, one a row of the artifact, and the
    bytes that each is made from. ``make_worker``, called once in each process, returns what makes
    the other columns for some of these rows, and ``error``: null where all went well. ``failed`` is
    the word for the others in the quarantine. ``signature`` stands for all else that rows depend
    on; without one no row of an earlier run is taken. ``unit`` is the number of samples that are
    worth sending to a worker.
    """

    stage: str
    samples: Callable[[RowGroup], tuple[pa.Table, list[bytes]]]
    make_worker: Callable[[], Make]
    failed: str
    signature: str | None
    unit: int


def derive(
    derivation: Derivation,
    dataset: str,
    *,
    max_bad_fraction: float,
    watch: Callable[[pa.Table], None],
) -> None:
    """Write ``data/<dataset>/<stage>``, cut like the pair store; ``watch`` sees each table of it.

    Rows of an earlier run are taken for samples that are made from the same bytes. Samples that
    fail are listed in ``quarantine.parquet``; ``UserError`` when they are more than
    ``max_bad_fraction`` of all.
    """
    stage, groups = derivation.stage, row_groups(DATA / dataset / "pairs")
    made = Made(stage, dataset, derivation.signature)
    places = [made.find([key(source) for source in derivation.samples(g)[1]]) for g in groups]
    missing = [np.flatnonzero(found < 0).tolist() for found in places]
    total, new = sum(map(len, places)), sum(map(len, missing))
    if new < total:
        say(f"{stage} {dataset}: {total - new:,} of {total:,} samples are as they were")
    tables = map_units(
        cut(zip(groups, missing, strict=True), derivation.unit),
        partial(make_unit_worker, derivation.make_worker),
        description=f"{stage} {dataset}",
        samples=samples_of,
    )
    fresh = _Stream(tables)
    rejected: list[Rejected] = []

    def rows(group: RowGroup, found: NDArray[np.int64]) -> pa.Table:
        table, failed = _row_group(derivation.samples(group), found, made, fresh)
        rejected.extend(Rejected(name, derivation.failed, error) for name, error in failed)
        watch(table)
        return table

    with atomic_directory(DATA / dataset / stage) as directory, closing(tables):
        members = zip(groups, places, strict=True)
        for shard, places_of_shard in groupby(members, key=lambda member: member[0].shard):
            _write((rows(*place) for place in places_of_shard), directory / shard)
            made.keep(directory / shard)
        fresh.finish()
        if len(rejected) > max_bad_fraction * total:
            raise UserError(
                f"{len(rejected)} of {total} samples failed, more than ingest.max_bad_fraction "
                f"{max_bad_fraction:g} allows; the first is {rejected[0].id}: {rejected[0].detail}"
            )
        write_quarantine(rejected, directory)
    made.forget_older()


def cut(groups: Iterable[tuple[RowGroup, list[int]]], size: int) -> list[Unit]:
    """Row groups with the rows that are missing, together until there are enough of them; the
    first, which is done to see how long it takes, on its own."""
    units: list[Unit] = []
    for group, rows in groups:
        if rows and (len(units) < 2 or samples_of(units[-1]) >= size):
            units.append([(group, rows)])
        elif rows:
            units[-1].append((group, rows))
    return units


def samples_of(unit: Unit) -> int:
    return sum(len(rows) for _, rows in unit)


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


def _row_group(
    samples: tuple[pa.Table, list[bytes]],
    places: NDArray[np.int64],
    made: Made,
    fresh: _Stream,
) -> tuple[pa.Table, list[tuple[str, str]]]:
    """The rows of the artifact, and the id and error of those that failed."""
    import pyarrow as pa

    table, sources = samples
    known, missing = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
    parts = fresh.take(len(missing))
    if len(known):
        earlier = made.rows(places[known]).drop_columns([*table.column_names, KEY])
        parts.append(earlier.append_column(ERROR, pa.nulls(len(known), pa.string())))
    rows = pa.concat_tables(parts).take(np.argsort(np.concatenate([missing, known])))
    errors = rows[ERROR].to_pylist()
    keys = [None if error else key(source) for source, error in zip(sources, errors, strict=True)]
    for name in rows.column_names:
        if name != ERROR:
            table = table.append_column(rows.field(name), rows[name])
    table = table.append_column(KEY, pa.array(keys, pa.binary(KEY_BYTES)))
    return table, [pair for pair in zip(table["id"].to_pylist(), errors, strict=True) if pair[1]]


def _write(row_groups: Iterator[pa.Table], shard: Path) -> None:
    """Write tables as the row groups of a shard, as they come."""
    import pyarrow.parquet as pq

    first = next(row_groups)
    with pq.ParquetWriter(shard, first.schema, compression="zstd") as writer:
        for table in chain([first], row_groups):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
