"""Hugging Face's imagefolder layout: metadata files beside the images."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePath
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.arrow_files import arrow_records, names_and_rows
from structxlip.data.readers.files import contents, files_below, need, reader
from structxlip.data.readers.records import (
    Record,
    line_records,
    need_fields,
    pair_of,
)
from structxlip.data.readers.split_names import split_of_folders, split_of_name
from structxlip.data.readers.text_tables import csv_records
from structxlip.data.sources.base import Source
from structxlip.errors import UserError

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
# The split of an image by the paths of its metadata file and of itself, both below the root.
SplitRule = Callable[[PurePath, PurePath], str | None]


class ImageFolder(DatasetEntry):
    """Hugging Face's imagefolder layout: metadata.jsonl, .csv or .parquet beside the images.

    There is one metadata file for all images, or one in each folder, such as that of a split.
    """

    kind: Literal["imagefolder"]
    caption: str = Field("text", description="The column of the captions.")


def open_imagefolder(dataset: ImageFolder) -> Source:
    """Read the images in the order of the metadata. The id of an image is its path.

    A folder above the metadata file or the image names the split, at any depth. Where some images
    are in such a folder, the others are left out and counted. Where none is, the names of all
    images may name their splits, such as ``test_17.jpg``.
    """
    root = Path(dataset.path)
    files = files_below(root, *METADATA)
    if not files:
        raise UserError(f"{root} has no {' or '.join(METADATA)}; it holds: {contents(root)}")
    if twice := [folder for folder, n in Counter(f.parent for f in files).items() if n > 1]:
        raise UserError(f"{twice[0]} has more than one metadata file; keep one of them")
    for file in files:
        need_fields(_records(file, root, dataset), ("file_name", dataset.caption), file)
    rule, splits, unlisted, broken = _splits(files, root, dataset)
    warnings = []
    if unlisted:
        warnings = [
            f"{unlisted} images are in no split folder, though others are; they are left out"
        ]
    size = splits.total() + broken
    pairs = _pairs(files, root, dataset, rule)
    return Source(pairs, size, frozenset(filter(None, splits)), unlisted, warnings=warnings)


def _splits(
    files: list[Path], root: Path, dataset: ImageFolder
) -> tuple[SplitRule | None, Counter[str | None], int, int]:
    """The rule that tells the splits, and the images that it leaves out.

    Returns:
        The rule, or None where nothing names a split; the images of each split; how many images
        are left out; and how many records name no image.
    """
    folders, names, broken = Counter[str | None](), Counter[str | None](), 0
    for file in files:
        metadata = file.relative_to(root)
        for record in _records(file, root, dataset):
            try:
                path = _path(record, metadata)
            except BadImage:
                broken += 1
                continue
            folders[_by_folders(metadata, path)] += 1
            names[_by_name(metadata, path)] += 1
    if any(folders):
        return _by_folders, folders, folders.pop(None, 0), broken
    if None not in names:
        return _by_name, names, 0, broken
    return None, folders, 0, broken


def _by_folders(metadata: PurePath, image: PurePath) -> str | None:
    return split_of_folders(metadata.parent) or split_of_folders(image.parent)


def _by_name(_: PurePath, image: PurePath) -> str | None:
    return split_of_name(image)


def _path(record: Record, metadata: PurePath) -> PurePath:
    """The path of an image below the root."""
    return PurePath(os.path.normpath(metadata.parent / record.file_name("file_name")))


def _records(file: Path, root: Path, dataset: ImageFolder) -> Iterator[Record]:
    where, columns = str(file.relative_to(root)), ("file_name", dataset.caption)
    if file.suffix == ".jsonl":
        yield from line_records(file, where)
    elif file.suffix == ".parquet":
        need(dict.fromkeys(names_and_rows(file)[0]), columns, file)
        yield from arrow_records(file, columns, where)
    else:
        yield from csv_records(file, columns, name=where)


def _pairs(
    files: list[Path], root: Path, dataset: ImageFolder, rule: SplitRule | None
) -> Iterator[RawPair]:
    for file in files:
        make = partial(
            _pair, metadata=file.relative_to(root), root=root, dataset=dataset, rule=rule
        )
        for record in _records(file, root, dataset):
            if pair := pair_of(record, "imagefolder", make):
                yield pair


def _pair(
    record: Record, metadata: PurePath, root: Path, dataset: ImageFolder, rule: SplitRule | None
) -> RawPair | None:
    path = _path(record, metadata)
    split = rule(metadata, path) if rule else None
    if rule and split is None:
        return None
    name = path.as_posix()
    return RawPair(
        id=name,
        read_image=reader(root, name, roots=dataset.link_roots),
        captions=record.captions(dataset.caption),
        group=name,
        source="imagefolder",
        split=split,
    )
