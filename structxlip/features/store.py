"""The feature store: the memory-mapped rows that training reads, in the order of the pairs."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError


class RowSpec(NamedTuple):
    """The type and the shape of one row of an array."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class StoreSpec:
    """The content of a feature store: its sizes and its rows.

    Attributes:
        encoders: the settings of the towers that the rows belong to.
        pairs: the number of pairs.
        captions: the number of captions.
        chunks: the number of chunks.
        image: one row of an image.
        text: one row of a caption or a structural caption.
        chunk: one row of a chunk.
        copies: of each training picture in other colours.
    """

    encoders: dict[str, Any]
    pairs: int
    captions: int
    chunks: int
    image: RowSpec
    text: RowSpec
    chunk: RowSpec
    copies: int = 0

    @classmethod
    def read(cls, directory: Path) -> StoreSpec:
        """The specification of the store in a folder."""
        content = json.loads((directory / "sizes.json").read_text())
        for name in ("image", "text", "chunk"):
            dtype, shape = content[name]
            content[name] = RowSpec(dtype, tuple(shape))
        return cls(**content)


class FeatureStore:
    """The arrays of ``data/<dataset>/features``, for ``N`` pairs, ``M`` captions and ``K`` chunks.

    For frozen towers the rows are float32 features: ``image [N, Di]``, ``caption [M, Dt]``,
    ``structure [M, Dt]`` (of the structural captions) and ``chunks [K, Dt]``. For a CLIP that is
    trained, ``image [N, S, S, 3]`` is uint8 pixels, ``caption`` and ``structure [M, L]`` are int32
    tokens, and ``chunks [K, 2]`` are the tokens [first, last) of each chunk. Where the store has
    copies of the training pictures in other colours, ``copies [n, copies, Di]`` has a row for each
    of the ``n`` training pairs.

    Attributes:
        spec: what the store holds.
        ids: the id of each pair, ``[N]``.
        splits: the split of each pair, ``[N]``.
        caption_offsets: ``[N + 1]``; the captions of pair ``i`` are rows ``offsets[i]`` to
            ``offsets[i + 1]``.
        chunk_offsets: ``[M + 1]``, the same for the chunks of a caption.
        caption_ids: ``[M]``; equal captions have the same id.
        group_ids: ``[N]``; pairs that share a caption have the same id.
        names_side: ``bool [M]``, whether a caption tells left from right.

    Args:
        directory: the folder of the store.
        train_share: of the training pairs, in (0, 1]: ``rows("train")`` gives so many of them. A
            smaller share is a part of a larger one, and it depends on the ids alone.

    Raises ``UserError`` for a folder that holds no feature store.
    """

    def __init__(self, directory: Path, train_share: float = 1.0) -> None:
        self.train_share = train_share

        def array(name: str) -> NDArray[Any]:
            return np.load(directory / f"{name}.npy", mmap_mode="r")

        try:
            self.spec = StoreSpec.read(directory)
            self.image, self.caption = array("image"), array("caption")
            self.structure, self.chunks = array("structure"), array("chunks")
            self.copies = array("copies") if self.spec.copies else None
            self.caption_offsets = np.load(directory / "caption_offsets.npy")
            self.chunk_offsets = np.load(directory / "chunk_offsets.npy")
            self.caption_ids = np.load(directory / "caption_ids.npy")
            self.group_ids = np.load(directory / "group_ids.npy")
            self.names_side = np.load(directory / "names_side.npy")
            index = json.loads((directory / "index.json").read_text())
        except (OSError, KeyError, TypeError, ValueError):  # none, or one of an older version
            raise UserError(f"{directory} holds no features; run the stage `features`") from None
        self.ids, self.splits = np.array(index["ids"]), np.array(index["splits"])
        self._place = np.cumsum(self.splits == "train") - 1  # among all training pairs

    def rows(self, split: str) -> NDArray[np.int64]:
        """The pairs of a split, ``[n]``; of the training split a share."""
        rows = np.flatnonzero(self.splits == split)
        if split != "train":
            return rows
        return self.sample(rows, math.ceil(self.train_share * len(rows)))

    def sample(self, rows: NDArray[np.int64], count: int | None) -> NDArray[np.int64]:
        """At most ``count`` of the pairs ``rows``, in their order; None takes all.

        Which ones depends on their ids alone; a smaller sample is a part of a larger one.
        """
        if count is None or count >= len(rows):
            return rows
        hashes = [hashlib.blake2b(name.encode()).digest() for name in self.ids[rows].tolist()]
        order = sorted(range(len(rows)), key=hashes.__getitem__)
        return rows[np.sort(order[:count])]

    def recoloured(self, rows: NDArray[np.int64], which: NDArray[np.int64]) -> NDArray[Any]:
        """The pictures of some training pairs ``rows [n]``, each as it is (``which [n]`` is 0) or
        as the copy of that number, counted from 1; ``[n, Di]``."""
        assert self.copies is not None, "the store has no copies"
        images = self.image[rows]
        changed = which > 0
        images[changed] = self.copies[self._place[rows[changed]], which[changed] - 1]
        return images

    def captions_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The captions of some pairs ``rows``, and for each caption the place of its pair in
        ``rows``; both ``[m]``."""
        counts = np.diff(self.caption_offsets)[rows]
        pair_index = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(pair_index)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.caption_offsets[rows][pair_index] + within, pair_index
