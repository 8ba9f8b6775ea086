"""Any table with a column of images and columns of captions: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Caption, RawPair, is_missing
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.arrow_files import arrow_records
from structxlip.data.readers.files import existing, need, readable, reader
from structxlip.data.readers.records import Record, line_records, need_fields, pair_of
from structxlip.data.readers.templates import captions_from, columns_of
from structxlip.data.readers.text_files import PACKED_SUFFIXES
from structxlip.data.readers.text_tables import csv_records
from structxlip.data.sources.base import Source
from structxlip.data.splits import SPLIT_NAMES, SPLITS
from structxlip.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa


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


def open_table(dataset: Table) -> Source:
    """Read the pairs in the order of the table. Rows with the same id are one pair.

    The pair has the captions of all its rows. A caption is a column, or a template of columns such
    as ``"{name}. {description}"``. The table is streamed: only the captions of ids whose rows are
    not consecutive are in memory.
    """
    root = Path(dataset.path)
    path, folder = existing(root, dataset.table), existing(root, dataset.images)
    runs: Counter[str] = Counter()  # runs of consecutive rows, by id
    given: set[str | None] = set()
    for identifier, rows in _by_id(path, dataset):
        runs[identifier] += 1
        given |= {_given_split(row, dataset, path) for row in rows}
    scattered = {identifier for identifier, count in runs.items() if count > 1}
    pairs = _pairs(path, dataset, scattered, folder)
    return Source(pairs, len(runs), frozenset(split for split in given if split))


def _pairs(path: Path, dataset: Table, scattered: set[str], folder: Path) -> Iterator[RawPair]:
    """One pair for each id. ``scattered``: the ids whose rows are not consecutive."""
    scattered_captions: dict[str, list[Caption]] = defaultdict(list)
    for identifier, rows in _by_id(path, dataset) if scattered else ():
        if identifier in scattered:
            scattered_captions[identifier] += _captions(rows, dataset)
    for identifier, rows in _by_id(path, dataset, images=True):
        if identifier in scattered and identifier not in scattered_captions:
            continue  # the pair of this id was yielded at its first run of rows
        first, *others = rows
        captions = scattered_captions.pop(identifier, None)
        make = partial(
            _pair,
            captions=_captions([first, *others], dataset) if captions is None else captions,
            path=path,
            folder=folder,
            dataset=dataset,
        )
        yield pair_of(first, "table", make)


def _pair(
    record: Record, captions: list[Caption], path: Path, folder: Path, dataset: Table
) -> RawPair:
    identifier = _id(record, dataset)
    grouped = dataset.group and not is_missing(record.get(dataset.group))
    return RawPair(
        id=identifier,
        read_image=_image(record, folder, dataset),
        captions=captions,
        group=(record.name(dataset.group) if grouped else "") if dataset.group else identifier,
        source="table",
        split=_split(record, dataset, path),
    )


def _captions(rows: Iterable[Record], dataset: Table) -> list[Caption]:
    return [
        caption
        for row in rows
        if row.readable
        for template in dataset.captions
        for caption in captions_from(template, row)
    ]


def _by_id(
    path: Path, dataset: Table, *, images: bool = False
) -> Iterator[tuple[str, Iterator[Record]]]:
    """The runs of consecutive rows with the same id. ``images``: also read embedded images.

    A row without an id is a run of its own.
    """

    def key(record: Record) -> str:
        try:
            return _id(record, dataset)
        except BadImage:
            return record.where

    yield from groupby(_records(path, dataset, images=images), key)


def _id(record: Record, dataset: Table) -> str:
    return record.name(dataset.id) if dataset.id else record.file_name(dataset.image)


def _records(path: Path, dataset: Table, *, images: bool) -> Iterator[Record]:
    named = [name for name in (dataset.image, dataset.id, dataset.split, dataset.group) if name]
    columns = [*named, *(name for text in dataset.captions for name in columns_of(text))]
    packed = path.suffix.lower() in PACKED_SUFFIXES
    kind = (Path(path.stem) if packed else path).suffix.lower()
    if kind == ".parquet":
        return _parquet_records(path, dataset, columns, images=images)
    if kind in (".jsonl", ".jsonlines", ".ndjson"):
        need_fields(line_records(path), columns, path)
        return line_records(path)
    if kind in (".csv", ".tsv", ".txt"):
        return csv_records(path, columns, quotes=dataset.quotes)
    raise UserError(f"{path} must be .csv, .tsv, .jsonl or .parquet", 2)


def _parquet_records(
    path: Path, dataset: Table, columns: list[str], *, images: bool
) -> Iterator[Record]:
    import pyarrow.parquet as pq

    with readable(path):
        schema = pq.read_schema(path)
    need(dict.fromkeys(schema.names), columns, path)
    embedded = _is_bytes(schema.field(dataset.image).type)
    if embedded and dataset.id is None:
        raise UserError(f"{path} holds the images themselves, so it needs an id column", 2)
    left_out = {dataset.image} if embedded and not images else set()
    read = [name for name in dict.fromkeys(columns) if name not in left_out]
    return arrow_records(path, read, path.name)


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds images themselves, not names. `datasets` writes them as structs."""
    from pyarrow import types

    checks = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_struct)
    return any(check(kind) for check in checks)


def _split(record: Record, dataset: Table, path: Path) -> str | None:
    """The split of a row; None where the column is empty. ``UserError`` for an unknown split."""
    if dataset.split is None or is_missing(record.get(dataset.split)):
        return None
    name = record.name(dataset.split)
    split = SPLIT_NAMES.get(name.strip().lower())
    if split is None:
        raise UserError(
            f"{path.parent / record.where}: the split {name!r} must be one of {', '.join(SPLITS)}"
        )
    return split


def _given_split(record: Record, dataset: Table, path: Path) -> str | None:
    try:
        return _split(record, dataset, path)
    except BadImage:
        return None


def _image(record: Record, folder: Path, dataset: Table) -> Callable[[], bytes]:
    """A function that returns the bytes of an image: embedded in the table, or in a file."""
    value = record.get(dataset.image)
    if isinstance(value, dict):  # as `datasets` writes them
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return lambda: value
    place = f"{dataset.image} in {record.where}"
    return reader(folder, value, roots=dataset.link_roots, place=place)
