"""The test split as a packaged model sees it: encoded images and texts, and its gate part."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from structxlip.data.shards import shards
from structxlip.data.splits import hash_position
from structxlip.features.groups import caption_groups, caption_ids


@dataclass(frozen=True)
class TestSplit:
    """The images and captions that a model version is scored on.

    Attributes:
        images: encoded, ``N`` of them.
        edges: the encoded edge map that the source brought along with each image, or None.
        texts: ``M`` captions.
        text_to_image: ``[M]``, the image of each caption.
        groups: ``[N]``; images that share a caption have the same group.
        digest: of ids, images, edge maps, captions and groups; equal digests are the same split
            with the same right answers.
        gate: ``[N]``, the images that the gate decides on. The others only tell how good a version
            is, and no decision ever looks at them.
        sha256: of each image.
        slices: by name, ``[N]``: parts of the images, by the length of their captions and by
            their source.
    """

    images: list[bytes]
    edges: list[bytes | None]
    texts: list[str]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]
    digest: str
    gate: NDArray[np.bool_]
    sha256: list[str]
    slices: Mapping[str, NDArray[np.bool_]]

    def owners(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The image of each caption of the chosen images, ``[N]``, counted among these."""
        places = np.cumsum(chosen) - 1
        owners: NDArray[np.int64] = places[self.text_to_image[chosen[self.text_to_image]]]
        return owners


@dataclass(frozen=True)
class Seen:
    """What a model was trained and validated on: hashes of images and of captions."""

    images: frozenset[str]
    captions: frozenset[str]

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.images | other.images, self.captions | other.captions)

    def digest(self) -> str:
        """A hash of all of it."""
        parts = [*sorted(self.images), "", *sorted(self.captions)]
        return hashlib.blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()

    def write(self, path: Path) -> None:
        """Write the hashes as JSON, compressed."""
        content = {"images": sorted(self.images), "captions": sorted(self.captions)}
        path.write_bytes(gzip.compress(json.dumps(content).encode(), mtime=0))

    @classmethod
    def read(cls, path: Path) -> Seen:
        """Read what ``write`` wrote; nothing where there is no file."""
        if not path.exists():  # of a version of before
            return cls(frozenset(), frozenset())
        content = json.loads(gzip.decompress(path.read_bytes()))
        return cls(frozenset(content["images"]), frozenset(content["captions"]))


def read_seen(pairs: Path) -> Seen:
    """What is seen in a training on a pair store: its training and validation pairs."""
    import pyarrow.dataset as ds

    seen = ds.field("split") != "test"
    images: set[str] = set()
    captions: set[str] = set()
    for batch in ds.dataset(shards(pairs)).to_batches(columns=["sha256", "captions"], filter=seen):
        for row in batch.to_pylist():
            images.add(row["sha256"])
            captions.update(caption_hash(text) for text in row["captions"])
    return Seen(frozenset(images), frozenset(captions))


def caption_hash(text: str) -> str:
    """A hash of a caption, in which upper and lower case are alike."""
    return hashlib.blake2b(text.lower().encode(), digest_size=12).hexdigest()


def read_test_split(pairs: Path, gate_share: float = 1.0) -> TestSplit:
    """The test split of a pair store.

    Args:
        pairs: the store.
        gate_share: share of its groups for the gate, cut by a hash. Where the hash leaves one side
            empty, all images are the gate's.
    """
    import pyarrow.dataset as ds

    columns = ["id", "group", "image", "edges", "captions", "sha256", "source"]
    rows = (
        ds.dataset(shards(pairs)).to_table(columns, filter=ds.field("split") == "test").to_pylist()
    )
    texts = [text for row in rows for text in row["captions"]]
    text_to_image = np.repeat(np.arange(len(rows)), [len(row["captions"]) for row in rows])
    groups = caption_groups(text_to_image, caption_ids(texts))
    digest = hashlib.blake2b(digest_size=16)
    for row, group in zip(rows, groups.tolist(), strict=True):
        digest.update(json.dumps([row["id"], row["sha256"], row["captions"], group]).encode())
        digest.update(row["edges"] or b"")
    gate = np.array([hash_position(row["group"], salt="gate") < gate_share for row in rows], bool)
    words = np.array([np.mean([len(text.split()) for text in row["captions"]]) for row in rows])
    sources = np.array([row["source"] for row in rows])
    return TestSplit(
        images=[row["image"] for row in rows],
        edges=[row["edges"] for row in rows],
        texts=texts,
        text_to_image=text_to_image,
        groups=groups,
        digest=digest.hexdigest(),
        gate=gate if gate.any() else ~gate,
        sha256=[row["sha256"] for row in rows],
        slices=_slices(words, sources),
    )


def _slices(words: NDArray[np.float64], sources: NDArray[np.str_]) -> dict[str, NDArray[np.bool_]]:
    """The images by the length of their captions, in thirds, and by source."""
    short, long = np.quantile(words, [1 / 3, 2 / 3]) if len(words) else (0.0, 0.0)
    found = {
        f"captions of up to {short:g} words": words <= short,
        f"captions of more than {long:g} words": words > long,
    }
    names = np.unique(sources)
    return found | {f"source {name}": sources == name for name in names if len(names) > 1}
