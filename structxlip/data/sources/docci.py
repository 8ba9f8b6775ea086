"""DOCCI: one long description for each image."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, json_lines, need, reader
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
    """Read the images in the order of the descriptions. `qual_test` is left out and counted."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.descriptions), existing(root, dataset.images)
    pairs = []
    unlisted = 0
    for record in json_lines(path):
        need(record, ("example_id", "image_file", "description", "split"), path)
        if record["split"] not in SPLITS:
            unlisted += 1
            continue
        pairs.append(
            RawPair(
                id=record["example_id"],
                read_image=reader(folder, record["image_file"]),
                captions=[record["description"]],
                group=record["example_id"],
                source="docci",
                split=SPLITS[record["split"]],
            )
        )
    given = frozenset(pair.split for pair in pairs if pair.split)
    return Source(iter(pairs), len(pairs), given, unlisted)
