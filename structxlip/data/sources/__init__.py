"""Sources: one file a format; each turns a dataset's entry in params.yaml into raw pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from structxlip.config import Flickr, Scenes
from structxlip.data.pairs import RawPair


@dataclass(frozen=True)
class Source:
    """A sized stream of pairs.

    ``splits`` names the splits that the source itself gives (none: split by hash), ``unlisted``
    counts the images that its own lists leave out.
    """

    pairs: Iterator[RawPair]
    size: int
    splits: frozenset[str]
    unlisted: int = 0


def open_source(dataset: Scenes | Flickr, *, seed: int) -> Source:
    """The pairs of a dataset's entry; ``UserError`` when its files are not what it says."""
    if isinstance(dataset, Scenes):
        from structxlip.data.sources.scenes import open_scenes

        return open_scenes(dataset, seed=seed)
    from structxlip.data.sources.flickr import open_flickr

    return open_flickr(dataset)
