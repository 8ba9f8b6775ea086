"""COCO: for each split one JSON file of captions, and one folder of images."""

from __future__ import annotations

from pathlib import Path

from structxlip.config.datasets import Coco
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader


def open_coco(dataset: Coco) -> Source:
    """Images in the order of their lists, each with all of its captions."""
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
