"""DOCCI: one long description for each image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.readers.files import existing
from structxlip.data.readers.records import Record, line_records, need_fields, pairs_of
from structxlip.data.sources.base import Source, source_of
from structxlip.data.splits import SPLIT_NAMES

SPLITS = SPLIT_NAMES | {"qual_dev": "val"}


class Docci(DatasetEntry):
    """DOCCI: docci_descriptions.jsonlines and images/.

    `qual_dev` is val; `qual_test` is left out.
    """

    kind: Literal["docci"]
    descriptions: str = Field(
        "docci_descriptions.jsonlines", description="The file of the descriptions."
    )
    images: str = Field("images", description="The folder of the images.")


def open_docci(dataset: Docci) -> Source:
    """Read the images in the order of the descriptions. `qual_test` is left out and counted.

    The id is the name of the image file: examples may be numbered anew in each split.
    """
    root = Path(dataset.path)
    path, folder = existing(root, dataset.descriptions), existing(root, dataset.images)
    records = list(line_records(path))
    need_fields(records, ("image_file", "description", "split"), path)
    return source_of(*pairs_of(records, "docci", partial(_pair, folder=folder, dataset=dataset)))


def _pair(record: Record, folder: Path, dataset: Docci) -> RawPair | None:
    if (split := SPLITS.get(record.name("split"))) is None:
        return None
    name = record.file_name("image_file")
    return RawPair(
        id=name,
        read_image=record.file("image_file", folder, dataset),
        captions=record.captions("description"),
        group=name,
        source="docci",
        split=split,
    )
