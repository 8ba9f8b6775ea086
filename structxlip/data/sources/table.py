"""Any table whose columns say where the images are and what is in them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from structxlip.config.datasets import Table
from structxlip.data.pairs import SPLITS, RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import (
    columns_of,
    csv_rows,
    existing,
    filled,
    json_lines,
    need,
    reader,
)
from structxlip.data.text import plain_text
from structxlip.errors import UserError

OTHER_NAMES = {"valid": "val", "validation": "val", "dev": "val"}


def open_table(dataset: Table) -> Source:
    """Rows in the order of the table; rows with the same id are one pair with all their captions.

    A caption is a column or a template such as ``"{name}. {description}"``.
    """
    root = Path(dataset.path)
    path, folder = existing(root, dataset.table), existing(root, dataset.images)
    named = [name for name in (dataset.image, dataset.id, dataset.split, dataset.group) if name]
    wanted = [*named, *(name for text in dataset.captions for name in columns_of(text))]
    rows: dict[str, dict[str, Any]] = {}
    captions: dict[str, list[str]] = {}
    for row in _rows(path):
        need(row, wanted, path)
        key = str(row[dataset.id or dataset.image])
        rows.setdefault(key, row)
        for template in dataset.captions:
            text = filled(template, row)
            captions.setdefault(key, []).append(plain_text(text) if dataset.html else text)
    splits = {key: _split(row, dataset.split, path) for key, row in rows.items()}
    pairs = (
        RawPair(
            id=key,
            read_image=_image(row[dataset.image], folder),
            captions=captions[key],
            group=str(row[dataset.group]) if dataset.group else key,
            source="table",
            split=splits[key],
        )
        for key, row in rows.items()
    )
    return Source(pairs, len(rows), frozenset(split for split in splits.values() if split))


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    kind = path.suffix.lower()
    if kind == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        except pa.ArrowInvalid as error:
            raise UserError(f"{path} is no Parquet file ({error})") from None
        return rows
    if kind in (".jsonl", ".jsonlines", ".ndjson"):
        return json_lines(path)
    if kind in (".csv", ".tsv", ".txt"):
        return csv_rows(path, "\t" if kind == ".tsv" else ",")
    raise UserError(f"{path} must be .csv, .tsv, .jsonl or .parquet", 2)


def _split(row: dict[str, Any], column: str | None, path: Path) -> str | None:
    if column is None or row[column] in (None, ""):
        return None
    name = str(row[column]).lower()
    split = OTHER_NAMES.get(name, name)
    if split not in SPLITS:
        raise UserError(f"{path}: the split {row[column]!r} must be one of {', '.join(SPLITS)}")
    return split


def _image(value: Any, folder: Path) -> Any:
    """Parquet tables may hold the images themselves."""
    if isinstance(value, dict):  # as `datasets` writes them
        value = value.get("bytes") or value.get("path") or ""
    if isinstance(value, bytes):
        return lambda: value
    return reader(folder, str(value))
