"""Artifacts with rows for every pair, `edges` and `captions`: only new rows are made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from structxlip.data.quarantine import RefusedData, Rejected, write_quarantine
from structxlip.incremental.artifacts import DATA, atomic_artifact
from structxlip.incremental.ray_map import map_units
from structxlip.incremental.row_cache import KEY, KEY_BYTES, RowCache, link_or_copy, row_key
from structxlip.incremental.row_groups import RowGroup, read_row_groups, row_groups
from structxlip.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

ERROR = "error"
# Makes the rows of some samples of a row group, given as places within it.
MakeRows = Callable[[RowGroup, list[int]], "pa.Table"]
# Some samples of each of some row groups: what goes to a worker at once.
WorkUnit = list[tuple[RowGroup, list[int]]]


@dataclass(frozen=True)
class Derivation:
    """The description of an artifact that is made from the pair store.

    Attributes:
        stage: the name of the stage and of its folder.
        columns: of the pair store, which ``identify`` reads.
        identify: makes the columns that identify the samples of a row group, one row for each row
            of the artifact.
        source_columns: of the pair store, which ``sources`` reads.
        sources: the bytes that each row is made from.
        make_worker: is called once in each process; returns what makes the other columns, and the
            column ``error``, which is null where all went well.
        failed: the reason in the quarantine for rows with an error.
        signature: a hash of everything else that rows depend on; None reuses no earlier row.
        unit: how many samples are worth sending to a worker.
        summary: reads the shards in a folder; what it returns is written there, to ``report.json``.
    """

    stage: str
    columns: tuple[str, ...]
    identify: Callable[[pa.Table], pa.Table]
    source_columns: tuple[str, ...]
    sources: Callable[[pa.Table], list[bytes]]
    make_worker: Callable[[], MakeRows]
    failed: str
    signature: str | None
    unit: int
    summary: Callable[[Path], dict[str, int]] | None = None


@dataclass(frozen=True)
class _PlannedGroup:
    """A row group, the keys of its samples, and their places in the row cache (-1: none)."""

    group: RowGroup
    keys: bytes
    places: NDArray[np.int64]

    @property
    def missing(self) -> list[int]:
        found: list[int] = np.flatnonzero(self.places < 0).tolist()
        return found


def derive(
    derivation: Derivation, dataset: str, *, max_bad_fraction: float, target: Path | None = None
) -> None:
    """Write ``data/<dataset>/<stage>``, or the folder ``target``, cut like the pair store.

    Rows of an earlier run are reused for samples that are made from the same bytes, and whole
    shards where nothing changed. Samples that fail are listed in ``quarantine.parquet``.

    Raises ``UserError`` when more than ``max_bad_fraction`` of all samples fail; the list is kept.
    """
    stage, pairs = derivation.stage, DATA / dataset / "pairs"
    groups = row_groups(pairs)
    cache = RowCache(stage, dataset, derivation.signature)
    plan = []
    tables = read_row_groups(pairs, groups, derivation.source_columns)
    for group, rows in zip(groups, tables, strict=True):
        keys = b"".join(map(row_key, derivation.sources(rows)))
        plan.append(_PlannedGroup(group, keys, cache.find(keys)))
    units = cut_units(((planned.group, planned.missing) for planned in plan), derivation.unit)
    total, new = sum(len(planned.places) for planned in plan), sum(map(samples_of, units))
    if new < total:
        say(f"{stage} {dataset}: {total - new:,} of {total:,} samples are unchanged and reused")
    made = map_units(
        units,
        partial(make_unit_worker, derivation.make_worker),
        description=f"{stage} {dataset}",
        samples=samples_of,
        name=name_of,
    )
    fresh = _RowStream(made)
    again = read_row_groups(pairs, groups, derivation.columns)
    rejected: list[Rejected] = []

    def rows_of(planned: _PlannedGroup, samples: pa.Table) -> pa.Table:
        rows = _merged(planned, cache, fresh, samples.column_names)
        errors = rows[ERROR].to_pylist()
        for name, error in zip(samples["id"].to_pylist(), errors, strict=True):
            if error is not None:
                rejected.append(Rejected(name, derivation.failed, error))
        if len(rejected) > max_bad_fraction * total:
            raise RefusedData(
                f"{len(rejected)} of {total} samples have failed, more than "
                f"ingest.max_bad_fraction {max_bad_fraction:g} allows; the first is "
                f"{rejected[0].id}: {rejected[0].detail}",
                rejected,
            )
        return _joined(samples, rows, _valid_keys(planned.keys, errors))

    with atomic_artifact(target or DATA / dataset / stage) as directory, closing(made):
        for shard, of_shard in groupby(plan, key=lambda planned: planned.group.shard):
            members = list(of_shard)
            samples = [derivation.identify(next(again)) for _ in members]
            earlier = cache.whole_shard([planned.keys for planned in members], samples)
            if earlier is not None:
                link_or_copy(earlier, directory / shard)
            else:
                _write(map(rows_of, members, samples), directory / shard)
            cache.keep(directory / shard)
        fresh.finish()
        write_quarantine(rejected, directory)
        if derivation.summary:
            report = json.dumps(derivation.summary(directory), indent=2)
            (directory / "report.json").write_text(report + "\n", encoding="utf-8")
    cache.remove_older()


def cut_units(missing: Iterable[tuple[RowGroup, list[int]]], size: int) -> list[WorkUnit]:
    """Cut the missing rows into units of about ``size`` samples.

    The first unit is a single row group: it shows how long the work takes.
    """
    units: list[WorkUnit] = []
    for group, rows in missing:
        if rows and (len(units) < 2 or samples_of(units[-1]) >= size):
            units.append([(group, rows)])
        elif rows:
            units[-1].append((group, rows))
    return units


def samples_of(unit: WorkUnit) -> int:
    """The number of samples in a unit."""
    return sum(len(rows) for _, rows in unit)


def name_of(unit: WorkUnit) -> str:
    """A unit in words."""
    first, last = unit[0][0], unit[-1][0]
    return str(first) if first == last else f"{first} to {last}"


def make_unit_worker(make_worker: Callable[[], MakeRows]) -> Callable[[WorkUnit], pa.Table]:
    """A worker that makes all rows of a unit."""
    import pyarrow as pa

    make = make_worker()
    return lambda unit: pa.concat_tables([make(group, rows) for group, rows in unit])


class _RowStream:
    """Takes rows off a stream of tables, whatever the sizes of the tables."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self.tables = tables
        self.table: pa.Table | None = None

    def take(self, rows: int) -> list[pa.Table]:
        """Tables that together hold the next ``rows`` rows."""
        taken = []
        while rows:
            if not self.table:
                self.table = next(self.tables)
            taken.append(self.table.slice(0, rows))
            self.table = self.table.slice(rows)
            rows -= taken[-1].num_rows
        return taken

    def finish(self) -> None:
        """Let the producer of the tables run to its end; every row must be taken."""
        assert not self.table
        assert next(self.tables, None) is None


def _merged(
    planned: _PlannedGroup, cache: RowCache, fresh: _RowStream, identity: list[str]
) -> pa.Table:
    """The rows of a row group in order, cached and fresh ones, with the column ``error`` and
    without the columns ``identity``."""
    import pyarrow as pa

    known = np.flatnonzero(planned.places >= 0)
    parts = fresh.take(len(planned.missing))
    if len(known):
        earlier = cache.rows(planned.places[known]).drop_columns([*identity, KEY])
        parts.append(earlier.append_column(ERROR, pa.nulls(len(known), pa.string())))
    order = np.argsort(np.concatenate([planned.missing, known]))
    return pa.concat_tables(parts).take(order)


def _joined(samples: pa.Table, rows: pa.Table, keys: pa.Array) -> pa.Table:
    for name in rows.column_names:
        if name != ERROR:
            samples = samples.append_column(rows.field(name), rows[name])
    return samples.append_column(KEY, keys)


def _valid_keys(keys: bytes, errors: list[str | None]) -> pa.Array:
    """The keys of samples; null where a sample failed, so that the next run tries it again."""
    import pyarrow as pa

    each = (keys[i * KEY_BYTES : (i + 1) * KEY_BYTES] for i in range(len(errors)))
    kept = [None if error is not None else k for k, error in zip(each, errors, strict=True)]
    return pa.array(kept, pa.binary(KEY_BYTES))


def _write(tables: Iterator[pa.Table], shard: Path) -> None:
    """Write tables as the row groups of a shard, one after the other."""
    import pyarrow.parquet as pq

    first = next(tables)
    # No dictionaries: hardly any value repeats, and finding that out takes time.
    with pq.ParquetWriter(shard, first.schema, compression="zstd", use_dictionary=False) as writer:
        for table in chain([first], tables):
            writer.write_table(table, row_group_size=max(table.num_rows, 1))
