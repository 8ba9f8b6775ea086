"""Any table with a column of images and columns of captions: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, json_lines, need, readable, reader
from structxlip.data.sources.templates import columns_of, filled
from structxlip.data.sources.text_files import PACKED_SUFFIXES
from structxlip.data.sources.text_tables import csv_rows
from structxlip.data.splits import SPLIT_NAMES, SPLITS
from structxlip.data.text import plain_text
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 64  # rows of a Parquet file that are in memory at once


class Table(DatasetEntry):
    """A table in CSV, TSV, JSON lines or Parquet, whose columns you name."""

    kind: Literal["table"]
    table: str = Field(description="The file of the table.", examples=["products.csv"])
    image: str = Field("image", description="The column of the image file, or of its bytes.")
    captions: Annotated[list[str], Field(min_length=1)] = Field(
        description="The columns of captions, or templates of columns in braces.",
        examples=[["{name}. {description}"]],
    )
    id: str | None = Field(
        None, description="The column of the ids. null: the image. Rows with one id are one pair."
    )
    split: str | None = Field(
        None, description="The column of the splits. null: splits are cut by a hash."
    )
    group: str | None = Field(
        None, description="The column of what must stay in one split, such as a patient."
    )
    images: str = Field(".", description="The folder of the images.")
    quotes: bool = Field(
        True, description="Whether a cell of CSV or TSV may stand in quotation marks."
    )
    html: bool = Field(False, description="Whether captions are HTML, which becomes text.")


def open_table(dataset: Table) -> Source:
    """Read the pairs in the order of the table. Rows with the same id are one pair.

    The pair has the captions of all its rows. A caption is a column, or a template of columns such
    as ``"{name}. {description}"``. The table is streamed: only the captions of ids whose rows are
    not consecutive are in memory.
    """
    root = Path(dataset.path)
    path, folder = existing(root, dataset.table), existing(root, dataset.images)
    named = [name for name in (dataset.image, dataset.id, dataset.split, dataset.group) if name]
    columns = [*named, *(name for text in dataset.captions for name in columns_of(text))]
    runs: Counter[str] = Counter()  # runs of consecutive rows, by id
    given: set[str | None] = set()
    for identifier, rows in _by_id(path, dataset, columns):
        runs[identifier] += 1
        given |= {_split(row, dataset.split, path) for row in rows}
    scattered = {identifier for identifier, count in runs.items() if count > 1}
    pairs = _pairs(path, dataset, columns, scattered, folder)
    return Source(pairs, len(runs), frozenset(split for split in given if split))


def _pairs(
    path: Path, dataset: Table, columns: list[str], scattered: set[str], folder: Path
) -> Iterator[RawPair]:
    """One pair for each id. ``scattered``: the ids whose rows are not consecutive."""

    def captions_of(rows: Iterable[dict[str, Any]]) -> list[str]:
        texts = [filled(template, row) for row in rows for template in dataset.captions]
        return [plain_text(text) for text in texts] if dataset.html else texts

    scattered_captions: dict[str, list[str]] = defaultdict(list)
    for identifier, rows in _by_id(path, dataset, columns) if scattered else ():
        if identifier in scattered:
            scattered_captions[identifier] += captions_of(rows)
    for identifier, rows in _by_id(path, dataset, columns, images=True):
        first, *others = rows
        if identifier in scattered:
            captions = scattered_captions.pop(identifier, [])
        else:
            captions = captions_of([first, *others])
        if captions:  # without captions: the pair of this id was yielded at its first run of rows
            yield RawPair(
                id=identifier,
                read_image=_image(first[dataset.image], folder),
                captions=captions,
                group=str(first[dataset.group]) if dataset.group else identifier,
                source="table",
                split=_split(first, dataset.split, path),
            )


def _by_id(
    path: Path, dataset: Table, columns: list[str], *, images: bool = False
) -> Iterator[tuple[str, Iterator[dict[str, Any]]]]:
    """The runs of consecutive rows with the same id. ``images``: also read embedded images."""

    def rows() -> Iterator[dict[str, Any]]:
        for row in _rows(path, dataset, columns, images=images):
            need(row, columns, path)
            yield row

    yield from groupby(rows(), key=lambda row: str(row[dataset.id or dataset.image]))


def _rows(
    path: Path, dataset: Table, columns: list[str], *, images: bool
) -> Iterable[dict[str, Any]]:
    packed = path.suffix.lower() in PACKED_SUFFIXES
    kind = (Path(path.stem) if packed else path).suffix.lower()
    if kind == ".parquet":
        return _parquet_rows(path, dataset, images=images)
    if kind in (".jsonl", ".jsonlines", ".ndjson"):
        return json_lines(path)
    if kind in (".csv", ".tsv", ".txt"):
        return csv_rows(path, columns, quotes=dataset.quotes)
    raise UserError(f"{path} must be .csv, .tsv, .jsonl or .parquet", 2)


def _parquet_rows(path: Path, dataset: Table, *, images: bool) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    with readable(path), pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        embedded = dataset.image in names and _is_bytes(file.schema_arrow.field(dataset.image).type)
        if embedded and dataset.id is None:
            raise UserError(f"{path} holds the images themselves, so it needs an id column", 2)
        left_out = {dataset.image} if embedded and not images else set()
        columns = [name for name in names if name not in left_out]
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            for row in batch.to_pylist():
                yield dict.fromkeys(left_out) | row


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds images themselves, not names. `datasets` writes them as structs."""
    from pyarrow import types

    checks = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_struct)
    return any(check(kind) for check in checks)


def _split(row: dict[str, Any], column: str | None, path: Path) -> str | None:
    """The split of a row; None where the column is empty."""
    if column is None or row[column] in (None, ""):
        return None
    split = SPLIT_NAMES.get(str(row[column]).lower())
    if split is None:
        raise UserError(f"{path}: the split {row[column]!r} must be one of {', '.join(SPLITS)}")
    return split


def _image(value: Any, folder: Path) -> Any:
    """A function that returns the bytes of an image: embedded in the table, or in a file."""
    if isinstance(value, dict):  # as `datasets` writes them
        value = value.get("bytes") or value.get("path") or ""
    if isinstance(value, bytes):
        return lambda: value
    return reader(folder, str(value))
