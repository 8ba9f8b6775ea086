"""MedPix 2.0: CT and MR images of cases, with their captions, modalities, planes and locations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, need, read_json, reader
from structxlip.data.sources.templates import columns_of, filled
from structxlip.data.splits import SPLIT_NAMES


class Medpix(DatasetEntry):
    """MedPix 2.0: Descriptions.json, uid_list.json and images/.

    All images of a case are in one split.
    """

    kind: Literal["medpix"]
    descriptions: str = Field("Descriptions.json", description="The file of the descriptions.")
    images: str = Field("images", description="The folder of the images.")
    splits: str | None = Field(
        "uid_list.json", description="The file of the splits. null: splits are cut by a hash."
    )
    caption: str = Field(
        "{Modality}, {Plane}, {Location}. {Caption}",
        description="The caption as a template of columns in braces.",
    )


def open_medpix(dataset: Medpix) -> Source:
    """Read the images in the order of the descriptions. All images of a case are in its split."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.descriptions), existing(root, dataset.images)
    splits: dict[str, str] = {}
    if dataset.splits:
        listed = read_json(_splits_file(root, dataset.splits), dict)
        for name, cases in listed.items():
            if name in SPLIT_NAMES:
                splits |= dict.fromkeys(cases, SPLIT_NAMES[name])
    pairs = []
    records = read_json(path, list)
    for record in records:
        need(record, ("U_id", "image", "Description"), path)
        columns = record | record["Description"]
        need(columns, columns_of(dataset.caption), path)
        case = record["U_id"]
        if splits and case not in splits:
            continue
        pairs.append(
            RawPair(
                id=record["image"],
                read_image=reader(folder, f"{record['image']}.{_suffix(folder, record['image'])}"),
                captions=[filled(dataset.caption, columns)],
                group=case,
                source="medpix",
                split=splits.get(case),
            )
        )
    return Source(iter(pairs), len(pairs), frozenset(splits.values()), len(records) - len(pairs))


def _splits_file(root: Path, name: str) -> Path:
    """The file of the splits, at the root or in the folder where the published dataset has it."""
    published = f"splitted_dataset/{name}"
    moved = not (root / name).exists() and (root / published).exists()
    return existing(root, published if moved else name)


def _suffix(folder: Path, name: str) -> str:
    """The suffix of the file of an image."""
    return "png" if (folder / f"{name}.png").exists() else "jpg"
