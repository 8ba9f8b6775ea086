"""A guess at the entry of a dataset: its kind and its columns, from the files that are there."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from structxlip.config.datasets import entry_class
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import RawPair, is_missing
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.arrow_files import arrow_records
from structxlip.data.readers.files import contents, files_below
from structxlip.data.readers.records import Record, line_records
from structxlip.data.readers.text_files import PACKED_SUFFIXES, text_lines
from structxlip.data.readers.text_tables import DELIMITERS, csv_records
from structxlip.data.sources import open_source
from structxlip.data.splits import SPLIT_NAMES, SPLITS
from structxlip.errors import UserError

LOOKED_AT = 200  # rows of a table
SHOWN, WIDTH = 10, 80  # pairs of a preview, and characters of a caption
TABLES = (".csv", ".tsv", ".jsonl", ".jsonlines", ".ndjson", ".parquet")
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".dcm")
# Names of columns, in the order in which they are looked for.
ID = r"^(id|uid|uuid|.*[_ -]id|sku|article)$"
GROUP = r"^(patient|subject|case|study|product|group|scene|sku)([_ -]?(id|uid))?$"
TEXT = r"caption|text|description|report|findings|title|name|prompt|sentence"
TAG = re.compile(r"</?[a-zA-Z][^<>]*>")

# Layouts that are known by the names of their files; the first that fits is taken.
LAYOUTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("medpix", ("Descriptions.json", "images")),
    ("docci", ("docci_descriptions.jsonlines", "images")),
    ("fashion_products", ("products.jsonl", "images")),
    ("mimic_cxr", ("mimic-cxr-2.0.0-split.csv*",)),
    ("dci", ("annotations/*.json", "photos")),
    ("deepfashion_multimodal", ("captions.json", "images")),
    ("hf_dataset", ("dataset_dict.json",)),
    ("hf_dataset", ("state.json", "*.arrow")),
)
LEXICONS = {"fashion_products": ["fashion"], "medpix": ["medical"], "mimic_cxr": ["medical"]}
CAPTION_FILES = ("captions.txt", "Flickr8k.token.txt", "results.csv", "results_20130124.token")


def guess_entry(path: Path) -> dict[str, Any]:
    """The entry under ``datasets:`` for a folder or a table.

    The keys that it leaves out have their defaults.

    Raises ``UserError`` for a path that does not exist, and where no kind fits.
    """
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder or the table of the dataset", 2)
    if path.is_file():
        if not _is_table(path):
            raise UserError(f"{path} must be a folder, or a table: {', '.join(TABLES)}", 2)
        return _table(path.parent, path)
    for kind, patterns in LAYOUTS:
        if all(any(path.glob(pattern)) for pattern in patterns):
            entry: dict[str, Any] = {"kind": kind, "path": str(path)}
            return entry | ({"lexicons": LEXICONS[kind]} if kind in LEXICONS else {})
    for guess in (_coco, _karpathy, _flickr, _tar_files, _imagefolder, _one_table, _parquet):
        if found := guess(path):
            return found
    raise UserError(
        f"no kind of dataset fits {path}, which holds: {contents(path)}; `structxlip sources` "
        f"shows all kinds",
        2,
    )


def _coco(root: Path) -> dict[str, Any] | None:
    splits = {}
    for file in files_below(root, "captions_*.json"):
        named = re.match(r"captions_(train|val|test)(\d*)", file.stem)
        images = [file.parent / file.stem.removeprefix("captions_")] if named else []
        images += [root / file.stem.removeprefix("captions_")] if named else []
        if folder := next((one for one in images if one.is_dir()), None):
            assert named is not None
            inside = str(file.relative_to(root)), str(folder.relative_to(root))
            splits[named[1]] = dict(zip(("captions", "images"), inside, strict=True))
    return {"kind": "coco", "path": str(root), "splits": splits} if splits else None


def _karpathy(root: Path) -> dict[str, Any] | None:
    for file in sorted(root.glob("dataset_*.json")):
        if file.stem != "dataset_dict":
            return {"kind": "karpathy", "path": str(root), "captions": file.name}
    return None


def _flickr(root: Path) -> dict[str, Any] | None:
    folders = [one for one in sorted(root.iterdir()) if one.is_dir() and _has_images(one)]
    file = next((name for name in CAPTION_FILES if (root / name).is_file()), None)
    if not folders or file is None:
        return None
    lists = {
        split: found.name
        for word, split in (("train", "train"), ("dev", "val"), ("test", "test"))
        if (found := next(iter(sorted(root.glob(f"*{word}*.txt"))), None))
    }
    if "test" not in lists and "val" in lists:
        lists["test"] = lists.pop("val")  # a validation split is cut from train
    entry: dict[str, Any] = {"kind": "flickr", "path": str(root)}
    entry |= {"images": folders[0].name, "captions": file}
    return entry | ({"splits": lists} if {"train", "test"} <= lists.keys() else {})


def _tar_files(root: Path) -> dict[str, Any] | None:
    return {"kind": "webdataset", "path": str(root)} if files_below(root, "*.tar") else None


def _imagefolder(root: Path) -> dict[str, Any] | None:
    tables = files_below(root, "metadata.csv", "metadata.jsonl", "metadata.parquet")
    if not tables:
        return None
    rows = _rows(tables[0])
    captions = _captions(rows, taken={"file_name"})
    entry = {"kind": "imagefolder", "path": str(root), "caption": captions[0]}
    return entry | _html(rows, captions[0])


def _one_table(root: Path) -> dict[str, Any] | None:
    tables = [path for path in sorted(root.iterdir()) if path.is_file() and _is_table(path)]
    fitting = [path for path in tables if _image_column(root, _rows(path))]
    return _table(root, fitting[0]) if fitting else None


def _parquet(root: Path) -> dict[str, Any] | None:
    tables = files_below(root, "*.parquet")
    if not tables:
        return None
    rows = _rows(tables[0])
    columns = _columns(rows)
    image = next((name for name in columns if any(_is_embedded(r, name) for r in rows)), None)
    if image is None:
        raise UserError(f"no column of {tables[0]} holds images ({', '.join(columns)})")
    captions = _captions(rows, taken={image})
    entry = {"kind": "hf_dataset", "path": str(root), "image": image, "caption": captions[0]}
    return entry | _html(rows, captions[0])


def _table(root: Path, file: Path) -> dict[str, Any]:
    """The entry of one table. Its image column names files, or holds images."""
    rows = _rows(file)
    found = _image_column(root, rows)
    if not rows:
        raise UserError(f"{file} has no row that can be read")
    if found is None:
        raise UserError(
            f"no column of {file} names image files below {root} ({', '.join(_columns(rows))}); "
            f"give the folder that holds both"
        )
    image, images = found
    columns = _columns(rows)
    entry: dict[str, Any] = {"kind": "table", "path": str(root), "table": file.name, "image": image}
    taken = {image}
    for key, fits in (("split", _names_splits), ("group", _groups), ("id", _identifies)):
        pattern = {"split": ".", "group": GROUP, "id": ID}[key]
        for column in columns:
            if column in taken or not re.search(pattern, column.lower()):
                continue
            if fits([row.get(column) for row in rows]):
                entry[key] = column
                taken.add(column)
                break
    captions = _captions(rows, taken)
    entry["captions"] = captions[:1]
    if images != ".":
        entry["images"] = images
    return entry | _html(rows, captions[0])


def _html(rows: Sequence[Record], caption: str) -> dict[str, Any]:
    """The key of captions that are HTML."""
    return {"html": True} if any(TAG.search(str(row.get(caption))) for row in rows) else {}


def _is_table(path: Path) -> bool:
    name = path.stem if path.suffix.lower() in PACKED_SUFFIXES else path.name
    return Path(name).suffix.lower() in TABLES


def _rows(file: Path) -> list[Record]:
    """The first readable rows of a table."""
    packed = file.suffix.lower() in PACKED_SUFFIXES
    kind = Path(file.stem if packed else file.name).suffix.lower()
    records: Iterable[Record]
    if kind == ".parquet":
        import pyarrow.parquet as pq

        records = arrow_records(file, pq.read_schema(file).names, file.name)
    elif kind in (".csv", ".tsv"):
        records = csv_records(file, _heading(file))
    else:
        records = line_records(file)
    return [record for record in islice(records, LOOKED_AT) if record.readable]


def _heading(file: Path) -> list[str]:
    """The names in the first line of a text table, cut at the delimiter that gives the most."""
    first = next(text_lines(file), "")
    readings = [next(csv.reader([first], delimiter=delimiter), []) for delimiter in DELIMITERS]
    return [name for cell in max(readings, key=len) if (name := cell.strip())]


def _columns(rows: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row.mapping))


def _is_embedded(row: Record, name: str) -> bool:
    value = row.get(name)
    return isinstance(value, bytes) or (isinstance(value, dict) and "bytes" in value)


def _image_column(root: Path, rows: Sequence[Record]) -> tuple[str, str] | None:
    """The column of the images, and the folder in which its names are files."""
    folders = [".", *(path.name for path in sorted(root.iterdir()) if path.is_dir())]
    for column in _columns(rows):
        values = [row.get(column) for row in rows if not is_missing(row.get(column))]
        if values and all(
            _is_embedded(row, column) for row in rows if not is_missing(row.get(column))
        ):
            return column, "."
        names = [value for value in values if isinstance(value, str)]
        if not any(name.lower().endswith(IMAGES) for name in names):
            continue
        for folder in folders:
            if any((root / folder / name).is_file() for name in names):
                return column, folder
    return None


def _has_images(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGES for path in islice(folder.iterdir(), LOOKED_AT))


def _captions(rows: Sequence[Record], taken: set[str]) -> list[str]:
    """The columns of text, the most likely caption first.

    Raises ``UserError`` where there is none.
    """

    def words(column: str) -> float:
        texts = [row.get(column) for row in rows]
        found = [text for text in texts if isinstance(text, str | list) and text]
        counts = [len((text if isinstance(text, str) else str(text[0])).split()) for text in found]
        return sum(counts) / len(rows) if rows else 0.0

    found = {column: words(column) for column in _columns(rows) if column not in taken}
    named = [column for column in found if re.search(TEXT, column.lower()) and found[column] > 0]
    likely = named or [column for column in found if found[column] > 2]
    if not likely:
        raise UserError(f"no column holds captions; the columns are: {', '.join(_columns(rows))}")
    return sorted(likely, key=lambda column: -found[column])


def _names_splits(values: Sequence[Any]) -> bool:
    names = {str(value).strip().lower() for value in values if not is_missing(value)}
    return bool(names) and names <= SPLIT_NAMES.keys()


def _groups(values: Sequence[Any]) -> bool:
    """Whether several rows share a value."""
    present = [str(value) for value in values if not is_missing(value)]
    return 1 < len(set(present)) < len(present)


def _identifies(values: Sequence[Any]) -> bool:
    """Whether every row has a value of its own."""
    present = [str(value) for value in values if not is_missing(value)]
    return len(set(present)) == len(values)


def preview(entry: Mapping[str, Any]) -> list[str]:
    """Lines that show how an entry is read: the number of pairs, the splits and the first pairs.

    Raises ``UserError`` for an entry that cannot be read at all.
    """
    source = open_source(entry_class(entry["kind"]).model_validate(dict(entry)))
    given = [split for split in SPLITS if split in source.splits]
    cut = [split for split in SPLITS if split not in source.splits]
    lines = [f"{source.size:,} pairs; its own splits: {', '.join(given) or 'none'}"]
    if cut:
        lines[0] += f"; cut by a hash: {', '.join(cut)}"
    lines += source.warnings
    return lines + [_shown(pair) for pair in islice(source.pairs, SHOWN)]


def _shown(pair: RawPair) -> str:
    try:
        height, width = decode_rgb(pair.read_image()).shape[:2]
        image = f"{width} x {height}"
    except BadImage as error:
        image = f"{error.reason}: {error.detail}"
    except OSError as error:
        image = f"cannot be read: {error}"
    texts = [text if isinstance(text, str) else f"({text.reason})" for text in pair.captions]
    caption = texts[0] if texts else "(no caption)"
    more = f" (+{len(texts) - 1})" if len(texts) > 1 else ""
    cut = caption if len(caption) <= WIDTH else f"{caption[: WIDTH - 1]}…"
    return f"{pair.id} [{pair.split or 'no split'}, {image}] {' '.join(cut.split())}{more}"
