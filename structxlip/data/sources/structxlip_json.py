"""The JSON list that the paper's authors train on: captions, edge maps, and segments as boxes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Box, RawPair, is_missing
from structxlip.data.readers.files import existing, read_json
from structxlip.data.readers.records import (
    Record,
    box_in,
    need_fields,
    number_in,
    pairs_of,
    record_of,
    records_in,
)
from structxlip.data.sources.base import Source, source_of


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
    edges = existing(root, dataset.edges) if dataset.edges else None
    records = records_in(read_json(path, list), path)
    need_fields(records, ("original_filename", "original_caption"), path)
    make = partial(_pair, folder=folder, edges=edges, dataset=dataset)
    return source_of(*pairs_of(records, "structxlip_json", make))


def _pair(record: Record, folder: Path, edges: Path | None, dataset: StructxlipJson) -> RawPair:
    name = record.file_name("original_filename")
    map_field = "original_filename_structure"
    brings_map = edges is not None and not is_missing(record.get(map_field))
    return RawPair(
        id=name,
        read_image=record.file("original_filename", folder, dataset),
        captions=record.captions("original_caption"),
        group=name,
        source="structxlip_json",
        boxes=_boxes(record),
        read_edges=record.file(map_field, edges, dataset, "edges")
        if edges and brings_map
        else None,
    )


def _boxes(record: Record) -> tuple[Box, ...]:
    """The boxes of the segments, in pixels, the one with the best score first."""
    if not isinstance(found := record.get("segment") or [], list):
        record.refuse("segment", "must be a list")
    segments = [record_of(one, f"segment[{i}] of {record.where}") for i, one in enumerate(found)]
    segments.sort(key=lambda segment: -number_in(segment.get("score") or 0, segment.where))
    return tuple(
        box_in(sides, segment.get("label"), segment.where)
        for segment in segments
        if (sides := segment.get("bbox") or segment.get("box"))
    )
