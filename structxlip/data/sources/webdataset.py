"""Tar shards of WebDataset: the files of a sample have the same name with different suffixes."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import contents, need
from structxlip.data.splits import SPLIT_NAMES
from structxlip.errors import UserError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")


class WebDataset(DatasetEntry):
    """Tar shards of WebDataset, with KEY.jpg and KEY.txt or KEY.json for each sample."""

    kind: Literal["webdataset"]
    shards: str = Field("*.tar", description="The pattern of the shards' names.")
    caption: str = Field(
        "txt", description="The suffix of the captions' files, or json.KEY for a key of the JSON."
    )


def open_webdataset(dataset: WebDataset) -> Source:
    """Read the samples in the order of the shards.

    A shard belongs to the split that its name or folder contains, such as `train-0001.tar`.
    """
    root = Path(dataset.path)
    shards = sorted(path for path in root.glob(dataset.shards) if path.is_file())
    if not shards:
        raise UserError(f"{root} has no {dataset.shards}; it holds: {contents(root)}")
    splits = {shard: _split(shard.relative_to(root)) for shard in shards}
    size = sum(len(_samples(shard)) for shard in shards)
    pairs = (
        RawPair(
            id=key if len(shards) == 1 else f"{shard.stem}/{key}",
            read_image=_image(shard, key, files),
            captions=_captions(shard, key, files, dataset.caption),
            group=f"{shard.stem}/{key}",
            source="webdataset",
            split=splits[shard],
        )
        for shard in shards
        for key, files in _samples(shard).items()
    )
    return Source(pairs, size, frozenset(s for s in splits.values() if s))


ByteRange = tuple[int, int]  # offset of the content of a file in its shard, and its size in bytes


def _samples(shard: Path) -> dict[str, dict[str, ByteRange]]:
    """For each sample the place of its files in the shard, by their suffixes.

    Nothing is unpacked to disk, so a name in the shard cannot write to another place.
    """
    found: dict[str, dict[str, ByteRange]] = {}
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                if member.isfile():
                    folder, _, name = member.name.rpartition("/")
                    stem, _, suffix = name.partition(".")
                    key = f"{folder}/{stem}" if folder else stem
                    found.setdefault(key, {})[suffix.lower()] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise UserError(f"{shard} is no tar file that is not packed ({error})") from None
    return found


def _read(shard: Path, place: ByteRange) -> bytes:
    start, size = place
    with shard.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _image(shard: Path, key: str, files: dict[str, ByteRange]) -> Callable[[], bytes]:
    """A function that reads the image of a sample."""

    def read() -> bytes:
        if ".." in PurePosixPath(key).parts or key.startswith("/"):
            raise BadImage("outside_folder", f"{key} in {shard.name} leads out of the shard")
        place = next((files[suffix] for suffix in IMAGE_SUFFIXES if suffix in files), None)
        if place is None:
            raise BadImage("missing_image", f"{shard.name} has no image for {key}")
        return _read(shard, place)

    return read


def _captions(shard: Path, key: str, files: dict[str, ByteRange], caption: str) -> list[str]:
    """The captions of a sample. ``caption`` is a suffix, or ``json.KEY``."""
    suffix, _, name = caption.partition(".")
    if suffix not in files:
        return []
    text = _read(shard, files[suffix]).decode("utf-8", errors="surrogateescape")
    if not name:
        return [text]
    try:
        record: Any = json.loads(text)
    except ValueError as error:
        raise UserError(f"{shard}: {key}.{suffix} is no JSON ({error})") from None
    need(record, (name,), f"{shard}: {key}.{suffix}")
    found = record[name]
    return found if isinstance(found, list) else [found]


def _split(shard: Path) -> str | None:
    """The split whose name is a word of the path of a shard, or None."""
    words = re.findall("[a-z]+", str(shard).lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
