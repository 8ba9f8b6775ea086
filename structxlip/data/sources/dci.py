"""Densely Captioned Images: one JSON file for each image, with masks of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Box, Caption, RawPair, is_missing
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.files import existing, read_json
from structxlip.data.readers.records import Record, box_in, number_in, pair_of, record_of
from structxlip.data.readers.split_names import split_lists
from structxlip.data.sources.base import Source
from structxlip.errors import UserError

CORNERS = ("topLeft", "bottomRight")  # of the bounds of a mask


class Dci(DatasetEntry):
    """Densely Captioned Images: one JSON file for each image. Its masks become boxes."""

    kind: Literal["dci"]
    annotations: str = Field("annotations", description="The folder of the JSON files.")
    images: str = Field("photos", description="The folder of the images.")
    splits: str | None = Field(
        "splits.json", description="The file of the splits. null: splits are cut by a hash."
    )


def open_dci(dataset: Dci) -> Source:
    """Read the images in the order of the names of the JSON files.

    A caption is the short caption followed by the extra caption. The bounds of the masks are the
    boxes. Images that no split lists are left out and counted.
    """
    root = Path(dataset.path)
    annotations, folder = existing(root, dataset.annotations), existing(root, dataset.images)
    files = sorted(annotations.glob("*.json"))
    splits: dict[str, str] | None = None
    if dataset.splits:
        lists = split_lists(existing(root, dataset.splits))
        splits = {Path(name).stem: split for name, split in lists.items()}
    listed = [file for file in files if splits is None or file.stem in splits]

    def pairs() -> Iterator[RawPair]:
        for file in listed:
            split = splits[file.stem] if splits else None
            make = partial(_pair, name=file.stem, split=split, folder=folder, dataset=dataset)
            yield pair_of(_record(file), "dci", make)

    given = frozenset((splits or {}).values())
    return Source(pairs(), len(listed), given, len(files) - len(listed))


def _record(file: Path) -> Record:
    """The record of a JSON file; a broken one where it cannot be read."""
    try:
        return Record(read_json(file, dict), file.name)
    except UserError as error:
        return Record(BadImage("bad_record", str(error)), file.name)


def _pair(record: Record, name: str, split: str | None, folder: Path, dataset: Dci) -> RawPair:
    return RawPair(
        id=name,
        read_image=record.file("image", folder, dataset),
        captions=_caption(record),
        group=record.file_name("image"),
        source="dci",
        split=split,
        boxes=tuple(_boxes(record)),
    )


def _caption(record: Record) -> list[Caption]:
    """The short caption followed by the extra caption. One of the two may be missing."""
    parts = [
        caption
        for field in ("short_caption", "extra_caption")
        for caption in record.captions(field)
        if not is_missing(record.get(field))
    ]
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) < len(parts) or not texts:
        return [part for part in parts if part not in texts] or record.captions("short_caption")
    return [" ".join(texts)]


def _boxes(record: Record) -> Iterator[Box]:
    """The bounding box of each mask that has bounds, in pixels."""
    if not isinstance(masks := record.get("mask_data") or {}, dict):
        record.refuse("mask_data", "must be a mapping")
    for name, value in masks.items():
        mask = record_of(value, f"mask {name} of {record.where}")
        if mask.get("bounds"):
            bounds = record_of(mask.get("bounds"), f"the bounds of {mask.where}")
            corners = [record_of(bounds.get(c), f"{c} of {bounds.where}") for c in CORNERS]
            left, top, right, bottom = (
                number_in(corner.get(axis), corner.where) for corner in corners for axis in "xy"
            )
            sides = (left, top, right - left, bottom - top)
            yield box_in(sides, mask.get("label"), mask.where)
