"""Karpathy's lists of COCO, Flickr30k and Flickr8k, with the splits that everybody reports on."""

from __future__ import annotations

from pathlib import Path

from structxlip.config.datasets import Karpathy
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import existing, need, read_json, reader

SPLITS = SPLIT_NAMES | {"restval": "train"}


def open_karpathy(dataset: Karpathy) -> Source:
    """Images in the order of the list; `restval` belongs to train."""
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
