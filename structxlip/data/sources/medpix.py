"""MedPix 2.0: CT and MR images of cases, with what their captions, planes and places are."""

from __future__ import annotations

from pathlib import Path

from structxlip.config.datasets import Medpix
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import columns_of, existing, filled, need, read_json, reader


def open_medpix(dataset: Medpix) -> Source:
    """Images in the order of the descriptions; all images of a case are in its split."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.descriptions), existing(root, dataset.images)
    splits: dict[str, str] = {}
    if dataset.splits:
        listed = read_json(existing(root, dataset.splits), dict)
        for name, cases in listed.items():
            if name in SPLIT_NAMES:
                splits |= dict.fromkeys(cases, SPLIT_NAMES[name])
    pairs = []
    records = read_json(path, list)
    for record in records:
        need(record, ("U_id", "image", "Description"), path)
        flat = record | record["Description"]
        need(flat, columns_of(dataset.caption), path)
        case = record["U_id"]
        if splits and case not in splits:
            continue
        pairs.append(
            RawPair(
                id=record["image"],
                read_image=reader(folder, f"{record['image']}.{_suffix(folder, record['image'])}"),
                captions=[filled(dataset.caption, flat)],
                group=case,
                source="medpix",
                split=splits.get(case),
            )
        )
    return Source(iter(pairs), len(pairs), frozenset(splits.values()), len(records) - len(pairs))


def _suffix(folder: Path, name: str) -> str:
    return "png" if (folder / f"{name}.png").exists() else "jpg"
