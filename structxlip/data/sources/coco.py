"""COCO: for each split one JSON file of captions, and one folder of images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.config.section import Section
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader
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
    """Read the images in the order of the lists, each with all of its captions."""
    root = Path(dataset.path)
    pairs: list[RawPair] = []
    for split, files in dataset.splits.items():
        path, folder = existing(root, files.captions), existing(root, files.images)
        content = read_json(path, dict)
        need(content, ("images", "annotations"), path)
        captions: dict[int, list[str]] = {}
        for annotation in content["annotations"]:
            need(annotation, ("image_id", "caption"), path)
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
        for image in content["images"]:
            need(image, ("id", "file_name"), path)
            name = image["file_name"]
            pairs.append(
                RawPair(
                    id=str(image["id"]),
                    read_image=reader(folder, name),
                    captions=captions.get(image["id"], []),
                    group=str(image["id"]),
                    source="coco",
                    split=split,
                )
            )
    return Source(iter(pairs), len(pairs), frozenset(dataset.splits))
