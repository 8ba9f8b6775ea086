"""The public Flickr8k/30k layout: an image folder, a captions table and lists of the splits."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from structxlip.config import Flickr
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, reader
from structxlip.errors import UserError

IMAGE_COLUMNS, CAPTION_COLUMNS = ("image", "image_name"), ("caption", "comment")


def open_flickr(dataset: Flickr) -> Source:
    """Pairs in the order of the captions table, then listed images without a caption.

    Images that no split list names are left out and counted. Raises ``UserError`` when the folder,
    the table, its columns or a list is not there, saying what was found instead.
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
