"""Any table whose columns say where the images are and what is in them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.config.datasets import Table
from structxlip.data.pairs import SPLITS, RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import (
    columns_of,
    csv_rows,
    existing,
    filled,
    json_lines,
    need,
    readable,
    reader,
)
from structxlip.data.text import plain_text
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 64


def open_table(dataset: Table) -> Source:
    """Rows in the order of the table; rows with the same id are one pair with all their captions.

    A caption is a column or a template such as ``"{name}. {description}"``. Rows are read as they
    are needed: only the captions of an id whose rows lie apart are held.
    """
    root = Path(dataset.path)
    path, folder = existing(root, dataset.table), existing(root, dataset.images)
    named = [name for name in (dataset.image, dataset.id, dataset.split, dataset.group) if name]
    wanted = [*named, *(name for text in dataset.captions for name in columns_of(text))]
    runs: Counter[str] = Counter()
    given: set[str | None] = set()
    for key, rows in _by_id(path, dataset, wanted):
        runs[key] += 1
        given |= {_split(row, dataset.split, path) for row in rows}
    apart = {key for key, count in runs.items() if count > 1}
    pairs = _pairs(path, dataset, wanted, apart, folder)
    return Source(pairs, len(runs), frozenset(split for split in given if split))


def _pairs(
    path: Path, dataset: Table, wanted: list[str], apart: set[str], folder: Path
) -> Iterator[RawPair]:
    def texts(rows: Iterable[dict[str, Any]]) -> list[str]:
        found = [filled(template, row) for row in rows for template in dataset.captions]
        return [plain_text(text) for text in found] if dataset.html else found

    held: dict[str, list[str]] = defaultdict(list)
    for key, rows in _by_id(path, dataset, wanted) if apart else ():
        if key in apart:
            held[key] += texts(rows)
    for key, rows in _by_id(path, dataset, wanted, images=True):
        first, *others = rows
        captions = held.pop(key, []) if key in apart else texts([first, *others])
        if captions:  # else an id that has come before
            yield RawPair(
                id=key,
                read_image=_image(first[dataset.image], folder),
                captions=captions,
                group=str(first[dataset.group]) if dataset.group else key,
                source="table",
                split=_split(first, dataset.split, path),
            )


def _by_id(
    path: Path, dataset: Table, wanted: list[str], *, images: bool = False
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """Rows that follow each other and have the same id; with ``images`` also where the table holds
    the images themselves."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in _rows(path, dataset, images=images):
            need(row, wanted, path)
            yield row

    yield from groupby(rows(), key=lambda row: str(row[dataset.id or dataset.image]))


def _rows(path: Path, dataset: Table, *, images: bool) -> Iterable[dict[str, Any]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return _parquet_rows(path, dataset, images=images)
    if kind in (".jsonl", ".jsonlines", ".ndjson"):
        return json_lines(path)
    if kind in (".csv", ".tsv", ".txt"):
        return csv_rows(path, "\t" if kind == ".tsv" else ",")
    raise UserError(f"{path} must be .csv, .tsv, .jsonl or .parquet", 2)


def _parquet_rows(path: Path, dataset: Table, *, images: bool) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        inside = dataset.image in names and _is_bytes(file.schema_arrow.field(dataset.image).type)
        if inside and dataset.id is None:
            raise UserError(f"{path} holds the images themselves, so it needs an id column", 2)
        left_out = {dataset.image} if inside and not images else set()
        columns = [name for name in names if name not in left_out]
        for batch in file.iter_batches(BATCH, columns=columns):
            for row in batch.to_pylist():
                yield dict.fromkeys(left_out) | row


def _is_bytes(kind: pa.DataType) -> bool:
    """Of images themselves, also as `datasets` writes them; names are strings of some kind."""
    from pyarrow import types

    tests = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_struct)
    return any(test(kind) for test in tests)


def _split(row: dict[str, Any], column: str | None, path: Path) -> str | None:
    if column is None or row[column] in (None, ""):
        return None
    split = SPLIT_NAMES.get(str(row[column]).lower())
    if split is None:
        raise UserError(f"{path}: the split {row[column]!r} must be one of {', '.join(SPLITS)}")
    return split


def _image(value: Any, folder: Path) -> Any:
    """Parquet tables may hold the images themselves."""
    if isinstance(value, dict):  # as `datasets` writes them
        value = value.get("bytes") or value.get("path") or ""
    if isinstance(value, bytes):
        return lambda: value
    return reader(folder, str(value))
