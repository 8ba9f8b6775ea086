"""Densely Captioned Images: one JSON file for each image, with masks of its parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader
from structxlip.data.splits import SPLIT_NAMES


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
    splits: dict[str, str] = {}
    if dataset.splits:
        path = existing(root, dataset.splits)
        for name, listed in read_json(path, dict).items():
            if name in SPLIT_NAMES:
                splits |= dict.fromkeys((Path(file).stem for file in listed), SPLIT_NAMES[name])
    listed_files = [file for file in files if file.stem in splits] if splits else files
    pairs = (_pair(file, folder, splits.get(file.stem)) for file in listed_files)
    unlisted = len(files) - len(listed_files)
    return Source(pairs, len(listed_files), frozenset(splits.values()), unlisted)


def _pair(file: Path, folder: Path, split: str | None) -> RawPair:
    record = read_json(file, dict)
    need(record, ("image", "short_caption", "extra_caption"), file)
    caption = f"{record['short_caption']} {record['extra_caption']}"
    return RawPair(
        id=file.stem,
        read_image=reader(folder, record["image"]),
        captions=[caption],
        group=record["image"],
        source="dci",
        split=split,
        boxes=tuple(_boxes(record.get("mask_data", {}))),
    )


def _boxes(masks: dict[str, Any]) -> Iterator[Box]:
    """The bounding box of each mask that has bounds, in pixels."""
    for mask in masks.values():
        if bounds := mask.get("bounds"):
            left, top = int(bounds["topLeft"]["x"]), int(bounds["topLeft"]["y"])
            right, bottom = int(bounds["bottomRight"]["x"]), int(bounds["bottomRight"]["y"])
            yield Box(left, top, right - left, bottom - top, mask.get("label", ""))
