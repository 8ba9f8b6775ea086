"""The test split as a registered model sees it: encoded images and texts."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from structxlip.data.shards import shards
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
    """

    images: list[bytes]
    edges: list[bytes | None]
    texts: list[str]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]
    digest: str


def read_test_split(pairs: Path) -> TestSplit:
    """The test split of a pair store."""
    import pyarrow.dataset as ds

    columns = ["id", "image", "edges", "captions", "sha256"]
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
    return TestSplit(
        images=[row["image"] for row in rows],
        edges=[row["edges"] for row in rows],
        texts=texts,
        text_to_image=text_to_image,
        groups=groups,
        digest=digest.hexdigest(),
    )
