"""Any table with a column of images and columns of captions: CSV, TSV, JSON lines or Parquet."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Caption, RawPair, is_missing
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.arrow_files import arrow_records
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, readable, reader
from structxlip.data.sources.records import (
    Record,
    as_name,
    line_records,
    need_fields,
    pair_of,
)
from structxlip.data.sources.templates import captions_from, columns_of
from structxlip.data.sources.text_files import PACKED_SUFFIXES
from structxlip.data.sources.text_tables import csv_rows
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
    if not _is_parquet(path):
        need_fields(_rows(path, dataset, columns), columns, path)
    runs: Counter[str] = Counter()  # runs of consecutive rows, by id
    given: set[str | None] = set()
    for key, rows in _by_id(path, dataset, columns):
        runs[key] += 1
        for row in rows:
            with suppress(BadImage):  # such a row is listed when its pair is made
                given.add(_split(row, dataset, path))
    scattered = {key for key, count in runs.items() if count > 1}
    pairs = _pairs(path, dataset, columns, scattered, folder)
    return Source(pairs, len(runs), frozenset(split for split in given if split))


def _pairs(
    path: Path, dataset: Table, columns: list[str], scattered: set[str], folder: Path
) -> Iterator[RawPair]:
    """One pair for each id. ``scattered``: the keys whose rows are not consecutive."""
    scattered_captions: dict[str, list[Caption]] = defaultdict(list)
    for key, rows in _by_id(path, dataset, columns) if scattered else ():
        if key in scattered:
            scattered_captions[key] += _captions(rows, dataset)
    yielded: set[str] = set()
    for key, rows in _by_id(path, dataset, columns, images=True):
        if key in yielded:
            continue
        first, *others = rows
        if key in scattered:
            yielded.add(key)
            captions = scattered_captions.pop(key)
        else:
            captions = _captions([first, *others], dataset)
        make = partial(_pair, captions=captions, dataset=dataset, path=path, folder=folder)
        yield pair_of(first, "table", make)


def _captions(rows: Iterable[Record], dataset: Table) -> list[Caption]:
    return [
        caption
        for row in rows
        if row.readable
        for template in dataset.captions
        for caption in captions_from(template, row, html=dataset.html)
    ]


def _pair(
    row: Record, captions: list[Caption], dataset: Table, path: Path, folder: Path
) -> RawPair:
    name = row.name(dataset.id) if dataset.id else row.file_name(dataset.image)
    group = name
    if dataset.group:  # rows without a group are one group together
        group = "" if is_missing(row.get(dataset.group)) else row.name(dataset.group)
    return RawPair(
        id=name,
        read_image=_image(row, dataset, folder),
        captions=captions,
        group=group,
        source="table",
        split=_split(row, dataset, path),
    )


def _by_id(
    path: Path, dataset: Table, columns: list[str], *, images: bool = False
) -> Iterator[tuple[str, Iterator[Record]]]:
    """The runs of consecutive rows with the same id, each with a key that is unique to the id.

    A row whose id is none has a key of its own. ``images``: also read embedded images.
    """

    def key(row: Record) -> str:
        name = as_name(row.get(dataset.id or dataset.image)) if row.readable else None
        return f"row {row.where}" if name is None else f"id {name}"

    yield from groupby(_rows(path, dataset, columns, images=images), key=key)


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def _rows(
    path: Path, dataset: Table, columns: list[str], *, images: bool = False
) -> Iterator[Record]:
    packed = path.suffix.lower() in PACKED_SUFFIXES
    kind = (Path(path.stem) if packed else path).suffix.lower()
    if kind == ".parquet":
        yield from _parquet_rows(path, dataset, columns, images=images)
    elif kind in (".jsonl", ".jsonlines", ".ndjson"):
        yield from line_records(path)
    elif kind in (".csv", ".tsv", ".txt"):
        for number, row in enumerate(csv_rows(path, columns, quotes=dataset.quotes), start=1):
            yield Record(row, f"{path.name}, row {number}")
    else:
        raise UserError(f"{path} must be .csv, .tsv, .jsonl or .parquet", 2)


def _parquet_rows(
    path: Path, dataset: Table, columns: list[str], *, images: bool
) -> Iterator[Record]:
    import pyarrow.parquet as pq

    with readable(path):
        schema = pq.read_schema(path)
    need(dict.fromkeys(schema.names), columns, path)
    embedded = _is_bytes(schema.field(dataset.image).type)
    if embedded and dataset.id is None:
        raise UserError(f"{path} holds the images themselves, so it needs an id column", 2)
    read = [
        name for name in dict.fromkeys(columns) if images or name != dataset.image or not embedded
    ]
    yield from arrow_records(path, read, path.name)


def _is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds images themselves, not names. `datasets` writes them as structs."""
    from pyarrow import types

    checks = (types.is_binary, types.is_large_binary, types.is_binary_view, types.is_struct)
    return any(check(kind) for check in checks)


def _split(row: Record, dataset: Table, path: Path) -> str | None:
    """The split of a row; None where the column is empty.

    Raises ``UserError`` for the name of another split, and ``BadImage`` for what is no name.
    """
    if dataset.split is None or is_missing(row.get(dataset.split)):
        return None
    name = row.name(dataset.split)
    if (split := SPLIT_NAMES.get(name.lower())) is None:
        raise UserError(f"{path}: the split {name!r} must be one of {', '.join(SPLITS)}")
    return split


def _image(row: Record, dataset: Table, folder: Path) -> Callable[[], bytes]:
    """A function that returns the bytes of an image: embedded in the table, or in a file."""
    value = row.get(dataset.image)
    if isinstance(value, dict):  # as `datasets` writes them
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return lambda: value
    place = f"{dataset.image} in {row.where}"
    return reader(folder, value, roots=dataset.link_roots, place=place)
