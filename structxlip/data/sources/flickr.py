"""Flickr8k and Flickr30k: an image folder, a table of captions, and lists of the splits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import Caption, RawPair, bad_pair
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.files import existing, reader
from structxlip.data.readers.records import Record
from structxlip.data.readers.text_files import text_lines
from structxlip.data.readers.text_tables import SHOWN, csv_records
from structxlip.data.sources.base import Source
from structxlip.data.splits import Split
from structxlip.errors import UserError

# Other names of the columns, as published tables have them.
ALIASES = {"image_name": "image", "comment": "caption"}
# Lines of the published tables that quote nothing: `NAME#K TAB CAPTION` of Flickr8k.token.txt and
# results_20130124.token, and `NAME| K| CAPTION` of results.csv, of which one lacks its second bar.
TOKEN = re.compile(r"(.+?)#\d+\s(.*)")
RESULTS = re.compile(r"(.+?)\|\s*\d+\s*[|\s](.*)")
RESULTS_HEADING = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment\s*")


class Flickr(DatasetEntry):
    """Flickr8k and Flickr30k: an image folder, a table of captions, and lists of the splits."""

    kind: Literal["flickr"]
    images: str = Field("Images", description="The folder of the images.")
    captions: str = Field("captions.txt", description="The table of the captions.")
    splits: dict[Split, str] = Field(
        default_factory=dict,
        description="The lists of image names by split: train and test, and val where there is "
        "one. Empty: splits are cut by a hash.",
    )

    @model_validator(mode="after")
    def _check_splits(self) -> Flickr:
        if self.splits and not {"train", "test"} <= set(self.splits):
            raise ValueError("needs the lists of both train and test, or none to split by hash")
        return self


def open_flickr(dataset: Flickr) -> Source:
    """Read the images in the order of the captions, then the listed images without a caption.

    Images that no split lists are left out and counted.

    Raises:
        UserError: the folder, the table, one of its columns or a list is missing (the message says
            what was found), or an image is in two lists.
    """
    root = Path(dataset.path)
    images = existing(root, dataset.images)
    captions, nameless = _captions(existing(root, dataset.captions), images)
    known = _Names([*captions, *(path.name for path in images.glob("*"))])
    splits: dict[str, str] = {}
    for split, listed in dataset.splits.items():
        for name in _listed(existing(root, listed), known):
            if splits.setdefault(name, split) != split:
                raise UserError(
                    f"{root}: {name} is listed in both {splits[name]} and {split}; "
                    f"remove it from one of the lists"
                )
    names = list(dict.fromkeys([*captions, *splits]))
    kept = [name for name in names if name in splits] if splits else names
    pairs = (
        RawPair(
            id=name,
            read_image=reader(images, name, roots=dataset.link_roots),
            captions=captions.get(name, []),
            group=name,
            source="flickr",
            split=splits.get(name),
        )
        for name in kept
    )
    return Source(
        chain(nameless, pairs),
        size=len(nameless) + len(kept),
        splits=frozenset(dataset.splits),
        unlisted=len(names) - len(kept),
    )


def _captions(path: Path, images: Path) -> tuple[dict[str, list[Caption]], list[RawPair]]:
    """The captions of each image, and a pair for the quarantine for each row without an image.

    A table of which no image exists has left out the endings.
    """
    captions: dict[str, list[Caption]] = {}
    nameless = []
    for record in _records(path):
        try:
            name = record.file_name("image")
        except BadImage as bad:
            nameless.append(bad_pair(record.where, bad, "flickr"))
        else:
            captions.setdefault(name, []).extend(record.captions("caption"))
    files = _Names(path.name for path in images.glob("*"))
    if not any(name in files for name in captions):
        captions = {files.found(name): texts for name, texts in captions.items()}
    return captions, nameless


class _Names:
    """Names of images, which may be looked for without their endings."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = dict.fromkeys(names)
        self._by_stem: dict[str, list[str]] = {}
        for name in self._names:
            self._by_stem.setdefault(Path(name).stem, []).append(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def found(self, name: str) -> str:
        """The name with its ending; the same where there is no such image, or more than one."""
        likely = [] if name in self else self._by_stem.get(name, [])
        return likely[0] if len(likely) == 1 else name


def _listed(path: Path, known: _Names) -> list[str]:
    """The images of a list, one name in each line.

    Raises ``UserError`` for a list of which no image is known.
    """
    listed = [known.found(line.strip()) for line in text_lines(path) if line.strip()]
    if listed and not any(name in known for name in listed):
        example = next(iter(known), "none")
        raise UserError(
            f"{path}: none of its {len(listed)} images is known (first: {listed[0]}); each line "
            f"must be the name of an image such as {example}"
        )
    return listed


def _records(path: Path) -> Iterator[Record]:
    """The rows of the captions, in any of the published formats, with `image` and `caption`."""
    first = next((line.strip() for line in text_lines(path) if line.strip()), "")
    if RESULTS_HEADING.fullmatch(first):
        return _matches(path, RESULTS)
    if TOKEN.fullmatch(first):
        return _matches(path, TOKEN)
    return csv_records(path, ("image", "caption"), ALIASES)


def _matches(path: Path, pattern: re.Pattern[str]) -> Iterator[Record]:
    for number, line in enumerate(map(str.strip, text_lines(path)), start=1):
        if not line or RESULTS_HEADING.fullmatch(line):
            continue
        found = pattern.fullmatch(line)
        if found is None:
            raise UserError(f"{path}, line {number} is not like the others: {line[:SHOWN]!r}")
        image, caption = found.groups()
        if pattern is RESULTS and re.fullmatch('".*"', caption):  # a program has written it anew
            caption = caption[1:-1].replace('""', '"')
        fields = {"image": image.strip(), "caption": caption.strip()}
        yield Record(fields, f"{path.name}, line {number}")
