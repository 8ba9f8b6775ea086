"""The result of opening a source: a stream of pairs, and counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from structxlip.data.pairs import RawPair


@dataclass(frozen=True)
class Source:
    """A stream of pairs of known length.

    Attributes:
        pairs: the pairs, in an order that is always the same.
        size: number of pairs.
        splits: the splits that the dataset itself defines. The other splits are cut by a hash of
            the group.
        unlisted: number of images that the dataset's own lists or split folders leave out.
        drawn: whether the images are drawn on demand. Drawn images have no near-duplicates, so the
            search for them, which would draw each image twice, is left out.
        warnings: sentences for the user, on what the files say and the source cannot follow.
    """

    pairs: Iterator[RawPair]
    size: int
    splits: frozenset[str]
    unlisted: int = 0
    drawn: bool = False
    warnings: Sequence[str] = ()


def source_of(pairs: Sequence[RawPair], unlisted: int = 0, warnings: Sequence[str] = ()) -> Source:
    """The source of pairs that are known, with the splits that they have."""
    given = frozenset(pair.split for pair in pairs if pair.split)
    return Source(iter(pairs), len(pairs), given, unlisted, warnings=warnings)
