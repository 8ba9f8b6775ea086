"""Tar shards of WebDataset: the files of a sample have the same name with different suffixes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Caption, RawPair, bad_pair, captions_in
from structxlip.data.quarantine import BadCaption, BadImage
from structxlip.data.readers.files import contents, shown_files
from structxlip.data.readers.split_names import file_splits
from structxlip.data.readers.tar_files import Damage, Member, members
from structxlip.data.sources.base import Source
from structxlip.errors import UserError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")
FIRST_SAMPLES = 100  # whose JSON tells whether the key of the captions exists


class WebDataset(DatasetEntry):
    """Tar shards of WebDataset, with KEY.jpg and KEY.txt or KEY.json for each sample."""

    kind: Literal["webdataset"]
    shards: str = Field("**/*.tar", description="The pattern of the shards' paths.")
    caption: str = Field(
        "txt", description="The suffix of the captions' files, or json.KEY for a key of the JSON."
    )


@dataclass
class _Sample:
    """The files of a sample by their suffixes."""

    shard: Path
    key: str
    files: dict[str, Member] = field(default_factory=dict)


def open_webdataset(dataset: WebDataset) -> Source:
    """Read the samples in the order of the shards.

    A shard belongs to the split that its name or a folder on its path names, such as
    `train-0001.tar`. The id of a sample is the path of its shard and its key.
    """
    root = Path(dataset.path)
    shards = shown_files(root, root.glob(dataset.shards))
    if not shards:
        raise UserError(f"{root} has no {dataset.shards}; it holds: {contents(root)}")
    found = file_splits(shard.relative_to(root) for shard in shards)
    splits = {root / path: split for path, split in found.splits.items()}
    size = sum(1 for shard in splits for _ in _samples(shard))
    unlisted = sum(1 for path in found.left_out for _ in _samples(root / path))
    _check_key(splits, dataset.caption)
    pairs = (
        _pair(sample, shard.relative_to(root).with_suffix(""), split, dataset.caption)
        for shard, split in splits.items()
        for sample in _samples(shard)
    )
    given = frozenset(split for split in splits.values() if split)
    return Source(pairs, size, given, unlisted, warnings=found.warnings)


def _samples(shard: Path) -> Iterator[_Sample | Damage]:
    """The samples of a shard, and its damaged places.

    A file without a suffix belongs to no sample, as in WebDataset. A second file with one name
    begins another sample with that key: nothing replaces what came before.
    """
    samples: dict[str, _Sample] = {}
    found: list[_Sample | Damage] = []
    for member in members(shard):
        if isinstance(member, Damage):
            found.append(member)
            continue
        folder, _, name = member.name.rpartition("/")
        stem, dot, suffix = name.partition(".")
        if not stem or not dot or stem.startswith("__"):
            continue
        key = f"{folder}/{stem}" if folder else stem
        if key not in samples or suffix.lower() in samples[key].files:
            samples[key] = _Sample(shard, key)
            found.append(samples[key])
        samples[key].files[suffix.lower()] = member
    return iter(found)


def _pair(sample: _Sample | Damage, shard: Path, split: str | None, caption: str) -> RawPair:
    if isinstance(sample, Damage):
        name = f"{shard.as_posix()}.tar, byte {sample.offset}"
        return bad_pair(name, BadImage("damaged_shard", sample.detail), "webdataset")
    name = f"{shard.as_posix()}/{sample.key}"
    return RawPair(
        id=name,
        read_image=partial(_image, sample),
        captions=_captions(sample, caption),
        group=name,
        source="webdataset",
        split=split,
    )


def _image(sample: _Sample) -> bytes:
    key, shard = sample.key, sample.shard.name
    if ".." in PurePosixPath(key).parts or key.startswith("/"):
        raise BadImage("outside_folder", f"{key} in {shard} leads out of the shard")
    member = next((sample.files[s] for s in IMAGE_SUFFIXES if s in sample.files), None)
    if member is None:
        raise BadImage("missing_image", f"{shard} has no image for {key}")
    return member.read()


def _captions(sample: _Sample, caption: str) -> list[Caption]:
    """The captions of a sample. ``caption`` is a suffix, or ``json.KEY``."""
    suffix, _, key = caption.partition(".")
    if suffix not in sample.files:
        return []
    place = f"{sample.key}.{suffix} in {sample.shard.name}"
    try:
        if key:
            return captions_in(_json(sample, suffix).get(key), f"{key} of {place}")
        return captions_in(_text(sample, suffix), place)
    except BadCaption as bad:
        return [bad]


def _text(sample: _Sample, suffix: str) -> str:
    try:
        return sample.files[suffix].read().decode("utf-8-sig", errors="surrogateescape")
    except BadImage as bad:
        raise BadCaption("truncated_caption", f"is cut: {bad.detail}") from None


def _json(sample: _Sample, suffix: str) -> dict[str, Any]:
    text = _text(sample, suffix)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadCaption("bad_record", f"is in no JSON: {sample.key}.{suffix} ({error})") from None
    if not isinstance(record, dict):
        raise BadCaption("bad_record", f"is in no mapping: {sample.key}.{suffix}")
    return record


def _check_key(shards: Iterable[Path], caption: str) -> None:
    """Raise ``UserError`` when the first samples have JSON, and none of them the key."""
    suffix, _, key = caption.partition(".")
    samples = (sample for shard in shards for sample in _samples(shard) if key)
    with_json = (s for s in samples if isinstance(s, _Sample) and suffix in s.files)
    refusal = ""
    for sample in islice(with_json, FIRST_SAMPLES):
        try:
            record = _json(sample, suffix)
        except BadCaption:  # listed when the sample is read
            continue
        if key in record:
            return
        found = ", ".join(record) or "nothing"
        refusal = refusal or f"{sample.shard}: {sample.key}.{suffix} needs {key}, found: {found}"
    if refusal:
        raise UserError(refusal)
