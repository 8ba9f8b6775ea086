"""Flickr8k and Flickr30k: an image folder, a table of captions, and lists of the splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, reader
from structxlip.data.splits import Split
from structxlip.errors import UserError

IMAGE_COLUMNS, CAPTION_COLUMNS = ("image", "image_name"), ("caption", "comment")


class Flickr(DatasetEntry):
    """Flickr8k and Flickr30k: an image folder, a table of captions, and lists of the splits."""

    kind: Literal["flickr"]
    images: str = Field("Images", description="The folder of the images.")
    captions: str = Field("captions.txt", description="The table of the captions.")
    splits: dict[Split, str] = Field(
        default_factory=dict,
        description="The lists of image names by split: train and test, and val where there is "
        "one. Empty: splits are cut by a hash.",
    )

    @model_validator(mode="after")
    def _check_splits(self) -> Flickr:
        if self.splits and not {"train", "test"} <= set(self.splits):
            raise ValueError("needs the lists of both train and test, or none to split by hash")
        return self


def open_flickr(dataset: Flickr) -> Source:
    """Read the images in the order of the captions, then the listed images without a caption.

    Images that no split lists are left out and counted.

    Raises:
        UserError: the folder, the table, one of its columns or a list is missing (the message says
            what was found), or an image is in two lists.
    """
    root = Path(dataset.path)
    images = existing(root, dataset.images)
    captions = _read_captions(existing(root, dataset.captions))
    splits: dict[str, str] = {}
    for split, name in dataset.splits.items():
        for image in existing(root, name).read_text(encoding="utf-8").split():
            if splits.setdefault(image, split) != split:
                raise UserError(
                    f"{root}: {image} is listed in both {splits[image]} and {split}; "
                    f"remove it from one of the lists"
                )
    names = list(dict.fromkeys([*captions, *splits]))
    listed = [name for name in names if name in splits] if splits else names
    return Source(
        _pairs(listed, images, captions, splits),
        size=len(listed),
        splits=frozenset(dataset.splits),
        unlisted=len(names) - len(listed),
    )


def _pairs(
    names: list[str], images: Path, captions: dict[str, list[str]], splits: dict[str, str]
) -> Iterator[RawPair]:
    for name in names:
        yield RawPair(
            id=name,
            read_image=reader(images, name),
            captions=captions.get(name, []),
            group=name,
            source="flickr",
            split=splits.get(name),
        )


def _read_captions(path: Path) -> dict[str, list[str]]:
    """The captions of each image by its file name."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, skipinitialspace=True)
        columns = table.fieldnames or []
        image = next((name for name in IMAGE_COLUMNS if name in columns), None)
        caption = next((name for name in CAPTION_COLUMNS if name in columns), None)
        if image is None or caption is None:
            raise UserError(
                f"{path}: needs the columns image and caption in its first line, "
                f"found: {', '.join(columns) or 'nothing'}"
            )
        captions: dict[str, list[str]] = {}
        for row in table:
            captions.setdefault(row[image], []).append(row[caption] or "")
        return captions
