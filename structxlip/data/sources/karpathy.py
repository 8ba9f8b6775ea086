"""Karpathy's lists of COCO, Flickr30k and Flickr8k, with the splits that papers report on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair, captions_in
from structxlip.data.readers.files import existing, need, read_json, reader
from structxlip.data.readers.records import Record, need_fields, pairs_of, records_in
from structxlip.data.sources.base import Source, source_of
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
    images = records_in(content["images"], path, "images")
    need_fields(images, ("filename", "split", "sentences"), path)
    make = partial(_pair, folder=folder, dataset=dataset)
    return source_of(*pairs_of(images, "karpathy", make))


def _pair(image: Record, folder: Path, dataset: Karpathy) -> RawPair | None:
    if (split := SPLITS.get(image.name("split"))) is None:
        return None
    below = image.file_name("filepath") if image.get("filepath") else ""
    name = str(Path(below, image.file_name("filename")))
    return RawPair(
        id=name,
        read_image=reader(folder, name, roots=dataset.link_roots),
        captions=captions_in(_texts(image.get("sentences")), f"sentences in {image.where}"),
        group=name,
        source="karpathy",
        split=split,
    )


def _texts(sentences: Any) -> Any:
    """The captions of sentences, which stand under `raw`."""
    if not isinstance(sentences, list):
        return sentences
    return [one.get("raw") if isinstance(one, dict) else one for one in sentences]
