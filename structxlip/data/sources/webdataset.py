"""Tar shards in the form of WebDataset: files of one sample share their name and lie together."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from structxlip.config.datasets import WebDataset
from structxlip.data.images import BadImage
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import contents, need
from structxlip.errors import UserError

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")


def open_webdataset(dataset: WebDataset) -> Source:
    """Samples in the order of the shards; a shard or folder named after a split is of that split.

    ``caption`` is the suffix of a text file, or ``json.KEY`` for a key of the JSON file.
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


Place = tuple[int, int]  # where the bytes of a member begin, and how many there are


def _samples(shard: Path) -> dict[str, dict[str, Place]]:
    """Where the files of each sample are. Nothing is unpacked: a name leads nowhere."""
    found: dict[str, dict[str, Place]] = {}
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


def _read(shard: Path, place: Place) -> bytes:
    start, size = place
    with shard.open("rb") as file:
        file.seek(start)
        return file.read(size)


def _image(shard: Path, key: str, files: dict[str, Place]) -> Callable[[], bytes]:
    def read() -> bytes:
        if ".." in PurePosixPath(key).parts or key.startswith("/"):
            raise BadImage("outside_folder", f"{key} in {shard.name} leads out of the shard")
        place = next((files[suffix] for suffix in IMAGES if suffix in files), None)
        if place is None:
            raise BadImage("missing_image", f"{shard.name} has no image for {key}")
        return _read(shard, place)

    return read


def _captions(shard: Path, key: str, files: dict[str, Place], caption: str) -> list[str]:
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
    words = re.findall("[a-z]+", str(shard).lower())
    return next((SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES), None)
