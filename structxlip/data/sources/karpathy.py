"""Karpathy's lists of COCO, Flickr30k and Flickr8k, with the splits that papers report on."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader
from structxlip.data.splits import SPLIT_NAMES

SPLITS = SPLIT_NAMES | {"restval": "train"}


class Karpathy(DatasetEntry):
    """Karpathy's dataset_coco.json, dataset_flickr30k.json or dataset_flickr8k.json.

    It gives the splits; `restval` belongs to train.
    """

    kind: Literal["karpathy"]
    captions: str = Field("dataset_coco.json", description="The JSON file of the captions.")
    images: str = Field(".", description="The folder that holds the image folders.")


def open_karpathy(dataset: Karpathy) -> Source:
    """Read the images in the order of the list. Images without a known split are left out."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.captions), existing(root, dataset.images)
    content = read_json(path, dict)
    need(content, ("images",), path)
    pairs = []
    for image in content["images"]:
        need(image, ("filename", "split", "sentences"), path)
        name = str(Path(image.get("filepath", "")) / image["filename"])
        pairs.append(
            RawPair(
                id=image["filename"],
                read_image=reader(folder, name),
                captions=[sentence["raw"] for sentence in image["sentences"]],
                group=image["filename"],
                source="karpathy",
                split=SPLITS.get(image["split"]),
            )
        )
    listed = [pair for pair in pairs if pair.split]
    given = frozenset(pair.split for pair in listed if pair.split)
    return Source(iter(listed), len(listed), given, unlisted=len(pairs) - len(listed))
