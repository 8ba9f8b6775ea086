"""Hugging Face's imagefolder layout: a metadata file beside the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import contents, json_lines, need, reader
from structxlip.data.sources.text_tables import csv_rows
from structxlip.data.splits import SPLIT_NAMES
from structxlip.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv")


class ImageFolder(DatasetEntry):
    """Hugging Face's imagefolder layout: metadata.jsonl or metadata.csv beside the images.

    There is one metadata file for all images, or one in the folder of each split.
    """

    kind: Literal["imagefolder"]
    caption: str = Field("text", description="The column of the captions.")


def open_imagefolder(dataset: ImageFolder) -> Source:
    """Read the images in the order of the metadata. A folder named after a split is that split."""
    root = Path(dataset.path)
    folders = {root / name: split for name, split in SPLIT_NAMES.items() if (root / name).is_dir()}
    files = {
        folder / name: split
        for folder, split in {root: None, **folders}.items()
        for name in METADATA
        if (folder / name).is_file()
    }
    if not files:
        raise UserError(f"{root} has no metadata.jsonl or metadata.csv; it holds: {contents(root)}")

    def pairs() -> Iterator[RawPair]:
        for file, split in files.items():
            yield from _pairs(file, split, root, dataset)

    given = Counter(pair.split for pair in pairs())
    return Source(pairs(), given.total(), frozenset(split for split in given if split))


def _pairs(file: Path, split: str | None, root: Path, dataset: ImageFolder) -> Iterator[RawPair]:
    columns = ("file_name", dataset.caption)
    for row in csv_rows(file, columns) if file.suffix == ".csv" else json_lines(file):
        need(row, columns, file)
        captions: Any = row[dataset.caption]
        name = str((file.parent / row["file_name"]).relative_to(root))
        yield RawPair(
            id=name,
            read_image=reader(root, name),
            captions=captions if isinstance(captions, list) else [captions or ""],
            group=name,
            source="imagefolder",
            split=split or SPLIT_NAMES.get(Path(row["file_name"]).parts[0]),
        )
