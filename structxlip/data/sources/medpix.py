"""MedPix 2.0: CT and MR images of cases, with their captions, modalities, planes and locations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.readers.files import existing, read_json, reader
from structxlip.data.readers.records import Record, need_fields, pairs_of, record_of, records_in
from structxlip.data.readers.split_names import split_lists
from structxlip.data.readers.templates import captions_from, columns_of
from structxlip.data.sources.base import Source


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
    splits = split_lists(_splits_file(root, dataset.splits)) if dataset.splits else None
    records = [_flat(record) for record in records_in(read_json(path, list), path)]
    need_fields(records, ("U_id", "image", *columns_of(dataset.caption)), path)
    make = partial(_pair, splits=splits, folder=folder, dataset=dataset)
    pairs, unlisted = pairs_of(records, "medpix", make)
    return Source(iter(pairs), len(pairs), frozenset((splits or {}).values()), unlisted)


def _flat(record: Record) -> Record:
    """A record with the columns of its description beside its own."""
    if not isinstance(record.fields, Mapping):
        return record
    description = record_of(record.get("Description"), f"Description of {record.where}")
    if not isinstance(description.fields, Mapping):
        return description
    return Record({**record.fields, **description.fields}, record.where)


def _pair(
    record: Record, splits: dict[str, str] | None, folder: Path, dataset: Medpix
) -> RawPair | None:
    case, name = record.name("U_id"), record.file_name("image")
    if splits is not None and case not in splits:
        return None
    return RawPair(
        id=name,
        read_image=_image(folder, name, dataset),
        captions=captions_from(dataset.caption, record),
        group=case,
        source="medpix",
        split=splits[case] if splits else None,
    )


def _splits_file(root: Path, name: str) -> Path:
    """The file of the splits, at the root or in the folder where the published dataset has it."""
    published = f"splitted_dataset/{name}"
    moved = not (root / name).exists() and (root / published).exists()
    return existing(root, published if moved else name)


def _image(folder: Path, name: str, dataset: Medpix) -> Callable[[], bytes]:
    """A function that reads an image, PNG or JPG."""
    png = reader(folder, f"{name}.png", roots=dataset.link_roots)
    jpg = reader(folder, f"{name}.jpg", roots=dataset.link_roots)

    def read() -> bytes:
        try:
            return png()
        except FileNotFoundError:
            return jpg()

    return read
