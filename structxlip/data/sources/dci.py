"""Densely Captioned Images: one JSON file an image, with a description of each of its masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from structxlip.config.datasets import Dci
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import existing, need, read_json, reader


def open_dci(dataset: Dci) -> Source:
    """Images in the order of their files' names; the caption is the short and the extra one, and
    the bounds of the masks are boxes. Files in no split list are left out and counted."""
    root = Path(dataset.path)
    annotations, folder = existing(root, dataset.annotations), existing(root, dataset.images)
    files = sorted(annotations.glob("*.json"))
    splits: dict[str, str] = {}
    if dataset.splits:
        path = existing(root, dataset.splits)
        for name, listed in read_json(path, dict).items():
            if name in SPLIT_NAMES:
                splits |= dict.fromkeys((Path(file).stem for file in listed), SPLIT_NAMES[name])
    named = [file for file in files if file.stem in splits] if splits else files
    pairs = (_pair(file, folder, splits.get(file.stem)) for file in named)
    return Source(pairs, len(named), frozenset(splits.values()), len(files) - len(named))


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
    for mask in masks.values():
        if bounds := mask.get("bounds"):
            left, top = int(bounds["topLeft"]["x"]), int(bounds["topLeft"]["y"])
            right, bottom = int(bounds["bottomRight"]["x"]), int(bounds["bottomRight"]["y"])
            yield Box(left, top, right - left, bottom - top, mask.get("label", ""))
