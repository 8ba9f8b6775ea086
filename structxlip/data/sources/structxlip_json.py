"""The JSON list that the paper's authors train on: captions, edge maps, and segments as boxes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader


class StructxlipJson(DatasetEntry):
    """The JSON list that the paper's authors train on, with its edge maps and boxes."""

    kind: Literal["structxlip_json"]
    annotations: str = Field("train.json", description="The JSON list.")
    images: str = Field(".", description="The folder of the images.")
    edges: str | None = Field(
        ".", description="The folder of the edge maps. null: edge maps are computed."
    )


def open_structxlip_json(dataset: StructxlipJson) -> Source:
    """Read the images in the order of the list, with their edge maps and boxes."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.annotations), existing(root, dataset.images)
    edges_folder = existing(root, dataset.edges) if dataset.edges else None
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
                reader(edges_folder, record["original_filename_structure"])
                if edges_folder and record.get("original_filename_structure")
                else None
            ),
        )
        for record in records
    )
    return Source(pairs, len(records), frozenset())


def _boxes(segments: list[dict[str, Any]]) -> Iterator[Box]:
    """The boxes of the segments, in pixels, the one with the best score first."""
    for segment in sorted(segments, key=lambda segment: -float(segment.get("score", 0))):
        if box := segment.get("bbox") or segment.get("box"):
            x, y, width, height = (round(side) for side in box)
            yield Box(x, y, width, height, str(segment.get("label", "")))
