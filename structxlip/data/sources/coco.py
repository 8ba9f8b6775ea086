"""COCO: for each split one JSON file of captions, and one folder of images."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.config.section import Section
from structxlip.data.pairs import Caption, RawPair, bad_pair
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.files import existing, need, read_json
from structxlip.data.readers.records import (
    Record,
    as_name,
    need_fields,
    pairs_of,
    records_in,
)
from structxlip.data.sources.base import Source
from structxlip.data.splits import Split


class CocoSplit(Section):
    """The files of one split."""

    captions: str = Field(description="The JSON file of the captions.")
    images: str = Field(description="The folder of the images.")


COCO_2017: dict[Split, CocoSplit] = {
    "train": CocoSplit(captions="annotations/captions_train2017.json", images="train2017"),
    "test": CocoSplit(captions="annotations/captions_val2017.json", images="val2017"),
}


class Coco(DatasetEntry):
    """COCO: for each split a captions_*.json, and the folder of its images."""

    kind: Literal["coco"]
    splits: dict[Split, CocoSplit] = Field(
        default_factory=lambda: dict(COCO_2017),
        min_length=1,
        description="The captions file and the image folder of each split.",
    )


def open_coco(dataset: Coco) -> Source:
    """Read the images in the order of the lists, each with all of its captions.

    The id of an image is its split and its number, since tools number the images of each list anew.
    Images that have captions, but are not in the list of the images, are left out and counted.
    """
    root = Path(dataset.path)
    pairs: list[RawPair] = []
    unlisted = 0
    for split, files in dataset.splits.items():
        path, folder = existing(root, files.captions), existing(root, files.images)
        content = read_json(path, dict)
        need(content, ("images", "annotations"), path)
        images = records_in(content["images"], path, "images")
        annotations = records_in(content["annotations"], path, "annotations")
        need_fields(images, ("id", "file_name"), path)
        need_fields(annotations, ("image_id", "caption"), path)
        captions: dict[str, list[Caption]] = {}
        for annotation in annotations:
            try:
                captions.setdefault(annotation.name("image_id"), []).extend(
                    annotation.captions("caption")
                )
            except BadImage as bad:
                pairs.append(bad_pair(annotation.where, bad, "coco"))
        make = partial(_pair, split=split, captions=captions, folder=folder, dataset=dataset)
        pairs += pairs_of(images, "coco", make)[0]
        listed = {as_name(image.get("id")) for image in images if image.readable}
        unlisted += len(captions.keys() - listed)
    return Source(iter(pairs), len(pairs), frozenset(dataset.splits), unlisted)


def _pair(
    image: Record, split: str, captions: dict[str, list[Caption]], folder: Path, dataset: Coco
) -> RawPair:
    number = image.name("id")
    name = f"{split}/{number}"
    return RawPair(
        id=name,
        read_image=image.file("file_name", folder, dataset),
        captions=captions.get(number, []),
        group=name,
        source="coco",
        split=split,
    )
