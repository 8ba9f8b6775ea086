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
        slices: by name, ``[N]``: parts of the images, by the length of their captions, by their
            source, and by the density of their edge maps.
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


def read_test_split(pairs: Path, gate_share: float = 1.0, edges: Path | None = None) -> TestSplit:
    """The test split of a pair store.

    Args:
        pairs: the store.
        gate_share: share of its groups for the gate, cut by a hash. Where the hash leaves one side
            empty, all images are the gate's.
        edges: the artifact of edge maps, for slices by their density; None cuts none.
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
    slices = _thirds(words, "captions of {} {:g} words") | _by_name(sources, "source")
    if edges is not None:
        density = 100 * _densities(edges, [row["id"] for row in rows])
        slices |= _thirds(density, "edge maps of {} {:.1f} % edges")
    return TestSplit(
        images=[row["image"] for row in rows],
        edges=[row["edges"] for row in rows],
        texts=texts,
        text_to_image=text_to_image,
        groups=groups,
        digest=digest.hexdigest(),
        gate=gate if gate.any() else ~gate,
        sha256=[row["sha256"] for row in rows],
        slices=slices,
    )


def _thirds(values: NDArray[np.float64], words: str) -> dict[str, NDArray[np.bool_]]:
    """The images with the lowest and the highest third of some values."""
    low, high = np.quantile(values, [1 / 3, 2 / 3]) if len(values) else (0.0, 0.0)
    return {
        words.format("up to", low): values <= low,
        words.format("more than", high): values > high,
    }


def _by_name(names: NDArray[np.str_], what: str) -> dict[str, NDArray[np.bool_]]:
    """The images by a name that each has; nothing where all have the same."""
    found = np.unique(names)
    return {f"{what} {name}": names == name for name in found if len(found) > 1}


def _densities(edges: Path, ids: list[str]) -> NDArray[np.float64]:
    """The density of the edge map of each image; 0 for one without a map."""
    import pyarrow.dataset as ds

    table = ds.dataset(shards(edges)).to_table(["id", "density"])
    density = dict(zip(*(table[name].to_pylist() for name in ("id", "density")), strict=True))
    return np.array([density.get(name) or 0.0 for name in ids], np.float64)
