"""What every source opens to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from structxlip.data.pairs import RawPair

# What splits are called in the wild; other names are of no split.
SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validate": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
}


@dataclass(frozen=True)
class Source:
    """A sized stream of pairs.

    ``splits`` names the splits that the source itself gives (none: split by hash), ``unlisted``
    counts the images that its own lists leave out. ``drawn`` pairs are made apart: none can be a
    near-duplicate, and to look at them twice is to make them twice.
    """

    pairs: Iterator[RawPair]
    size: int
    splits: frozenset[str]
    unlisted: int = 0
    drawn: bool = False
