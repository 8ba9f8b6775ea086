"""The JSON list that the authors train on: captions, given edge maps, and segments with scores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from structxlip.config.datasets import StructxlipJson
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader


def open_structxlip_json(dataset: StructxlipJson) -> Source:
    """Images in the order of the list, with their edge maps and the boxes of their segments."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.annotations), existing(root, dataset.images)
    drawn = existing(root, dataset.edges) if dataset.edges else None
    records = read_json(path, list)
    for record in records:
        need(record, ("original_filename", "original_caption"), path)
    pairs = (
        RawPair(
            id=record["original_filename"],
            read_image=reader(folder, record["original_filename"]),
            captions=[record["original_caption"]],
            group=record["original_filename"],
            source="structxlip_json",
            boxes=tuple(_boxes(record.get("segment", []))),
            read_edges=(
                reader(drawn, record["original_filename_structure"])
                if drawn and record.get("original_filename_structure")
                else None
            ),
        )
        for record in records
    )
    return Source(pairs, len(records), frozenset())


def _boxes(segments: list[dict[str, Any]]) -> Iterator[Box]:
    """The boxes ``[x, y, width, height]`` of the segments, the best score first."""
    for segment in sorted(segments, key=lambda found: -float(found.get("score", 0))):
        if box := segment.get("bbox") or segment.get("box"):
            x, y, width, height = (round(side) for side in box)
            yield Box(x, y, width, height, str(segment.get("label", "")))
