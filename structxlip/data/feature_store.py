"""What is trained on, memory-mapped: the outputs of frozen towers, or pixels and tokens; and the
edge maps beside it."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues import decode_edges
from structxlip.data.pairs import shards
from structxlip.errors import UserError

FLUSH_S = 5.0  # of work that is done again after a kill
_SIDE = re.compile(
    r"(?<![^\W\d_])"  # after no letter
    r"(?:(?:left|right)(?:most|wards?|hand(?:ed)?)?"
    r"|(?:counter|anti)?clockwise"
    r"|(?:north|south)?(?:east|west)(?:wards?|ern(?:most)?|erly|bound)?)"
    r"(?![^\W\d_])",
    re.IGNORECASE,
)


def names_side(text: str) -> bool:
    """Whether a caption tells left from right, so that its picture must not be mirrored."""
    return _SIDE.search(text) is not None


class Row(NamedTuple):
    """What one row of an array is."""

    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class FeatureSizes:
    """How many rows the arrays of a store have, of what, and what made them."""

    encoders: dict[str, Any]
    pairs: int
    captions: int
    chunks: int
    image: Row
    text: Row
    chunk: Row

    @classmethod
    def read(cls, directory: Path) -> FeatureSizes:
        content = json.loads((directory / "sizes.json").read_text())
        for name in ("image", "text", "chunk"):
            dtype, shape = content[name]
            content[name] = Row(dtype, tuple(shape))
        return cls(**content)


class FeatureStore:
    """The arrays of ``data/<dataset>/features``, in the order of the pair store.

    Of frozen towers ``image [N, Di]``, ``caption [M, Dt]``, ``structure [M, Dt]`` and
    ``chunks [K, Dt]`` are float32 features. For towers that are trained, ``image [N, S, S, 3]`` is
    uint8, ``caption`` and ``structure [M, L]`` are tokens and ``chunks [K, 2]`` the tokens [first,
    last) of chunks, int32. ``caption_offsets [N + 1]`` and ``chunk_offsets [M + 1]`` say which rows
    belong to a pair and to a caption; ``group_ids [N]`` are equal for pairs that share a caption;
    ``sided [M]`` are the captions that ``names_side``.
    """

    def __init__(self, directory: Path) -> None:
        def array(name: str) -> NDArray[Any]:
            return np.load(directory / f"{name}.npy", mmap_mode="r")

        try:
            self.sizes = FeatureSizes.read(directory)
            self.image, self.caption = array("image"), array("caption")
            self.structure, self.chunks = array("structure"), array("chunks")
            self.caption_offsets = np.load(directory / "caption_offsets.npy")
            self.chunk_offsets = np.load(directory / "chunk_offsets.npy")
            self.group_ids = np.load(directory / "group_ids.npy")
            self.sided = np.load(directory / "sided.npy")
            index = json.loads((directory / "index.json").read_text())
        except (OSError, KeyError, TypeError, ValueError):  # none, or of an older version
            raise UserError(f"{directory} holds no features; run the stage `features`") from None
        self.ids, self.splits = np.array(index["ids"]), np.array(index["splits"])

    def rows(self, split: str) -> NDArray[np.int64]:
        """The pairs of a split, ``[n]``."""
        return np.flatnonzero(self.splits == split)

    def captions_of(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The captions of some pairs and, for each, the position of its pair in ``rows``."""
        counts = np.diff(self.caption_offsets)[rows]
        owner = np.repeat(np.arange(len(rows)), counts)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.caption_offsets[rows][owner] + within, owner


class FeatureWriter:
    """Fills the arrays of a feature store, in the order of the pair store.

    ``filled`` are the rows that each array has. Every ``FLUSH_S`` seconds they go to the disk, and
    then into a file beside ``directory``, from which a writer of the same folder goes on after this
    one was killed: it must be of the same rows.
    """

    def __init__(
        self,
        directory: Path,
        sizes: FeatureSizes,
        *,
        ids: list[str],
        splits: list[str],
        caption_counts: Iterable[int],
        chunk_counts: Iterable[int],
        caption_texts: Iterable[str],
    ) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        texts = list(caption_texts)
        caption_offsets = _offsets(caption_counts)
        (directory / "sizes.json").write_text(json.dumps(asdict(sizes), indent=2) + "\n")
        (directory / "index.json").write_text(json.dumps({"ids": ids, "splits": splits}))
        np.save(directory / "caption_offsets.npy", caption_offsets)
        np.save(directory / "chunk_offsets.npy", _offsets(chunk_counts))
        np.save(directory / "group_ids.npy", _shared_captions(caption_offsets, texts))
        np.save(directory / "sided.npy", np.array([names_side(text) for text in texts], np.bool_))
        self._noted = directory.with_name(f"{directory.name}.json")
        rows = {
            "image": (sizes.pairs, sizes.image),
            "caption": (sizes.captions, sizes.text),
            "structure": (sizes.captions, sizes.text),
            "chunks": (sizes.chunks, sizes.chunk),
        }

        def arrays(mode: Literal["r+", "w+"]) -> dict[str, np.memmap]:
            return {
                name: np.lib.format.open_memmap(
                    directory / f"{name}.npy", mode, np.dtype(row.dtype), (count, *row.shape)
                )
                for name, (count, row) in rows.items()
            }

        try:
            self.filled: dict[str, int] = json.loads(self._noted.read_text())
            self.arrays = arrays("r+")
        except (OSError, ValueError):  # nothing to go on from
            self._noted.unlink(missing_ok=True)
            self.filled, self.arrays = dict.fromkeys(rows, 0), arrays("w+")
        self._flushed_s = time.monotonic()

    def append(self, **values: bytes) -> None:
        """Add the next rows of each array, as the bytes of them."""
        for name, data in values.items():
            array = self.arrays[name]
            rows = np.frombuffer(data, array.dtype).reshape(-1, *array.shape[1:])
            start = self.filled[name]
            array[start : start + len(rows)] = rows
            self.filled[name] = start + len(rows)
        if time.monotonic() - self._flushed_s >= FLUSH_S:
            self._flush()

    def close(self) -> None:
        """Flush to disk; ``ValueError`` when an array is not full."""
        for name, array in self.arrays.items():
            if self.filled[name] != len(array):
                raise ValueError(f"{name} has {self.filled[name]} of {len(array)} rows")
        self._flush()

    def _flush(self) -> None:
        for array in self.arrays.values():
            array.flush()
        partial = self._noted.with_suffix(".tmp")
        with partial.open("w") as file:
            json.dump(self.filled, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._noted)
        self._flushed_s = time.monotonic()


def _offsets(counts: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64))]).astype(np.int64)


def _shared_captions(caption_offsets: NDArray[np.int64], texts: Iterable[str]) -> NDArray[np.int64]:
    """Group ids ``[N]``: pairs with a caption in common, directly or through others, share one."""
    parent = list(range(len(caption_offsets) - 1))

    def root(pair: int) -> int:
        while parent[pair] != pair:
            parent[pair] = parent[parent[pair]]
            pair = parent[pair]
        return pair

    owners = np.repeat(np.arange(len(parent)), np.diff(caption_offsets))
    first: dict[str, int] = {}
    for owner, text in zip(owners.tolist(), texts, strict=True):
        known = first.setdefault(text.lower(), owner)
        parent[root(owner)] = root(known)
    return np.array([root(pair) for pair in range(len(parent))], np.int64)


class EdgeMaps:
    """The edge maps of a dataset in the order of the pair store, kept as 1-bit PNG."""

    def __init__(self, directory: Path, ids: NDArray[np.str_]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = ["id", "edges", "has_structure", "regions"]
        table = pa.concat_tables(pq.read_table(p, columns=columns) for p in shards(directory))
        if not np.array_equal(table["id"].to_numpy(), ids):
            raise UserError(f"{directory} does not fit the features; run `dvc repro`")
        self.png = table["edges"].combine_chunks()
        self.regions = table["regions"].combine_chunks()
        self.has_structure: NDArray[np.bool_] = table["has_structure"].to_numpy()

    def maps(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Maps ``[n, 1, S, S]`` in {0, 1}; one without structure is all zero."""
        maps = np.stack([decode_edges(self.png[row].as_py()) for row in rows.tolist()])
        return (maps & self.has_structure[rows, None, None])[:, None].astype(np.float32)

    def crops(
        self, rows: NDArray[np.int64], maps: NDArray[np.float32], most: int, side: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """The first ``most`` regions of ``maps(rows)``, ``[n, most, 1, side, side]`` in [0, 1].

        They come with their mask ``[n, most]``; a map without structure has no region.
        """
        crops = np.zeros((len(rows), most, 1, side, side), np.float32)
        mask = np.zeros((len(rows), most), np.bool_)
        for i, row in enumerate(rows.tolist()):
            regions = self.regions[row].as_py() if self.has_structure[row] else []
            for k, box in enumerate(regions[:most]):
                part = maps[i, 0, box["y"] : box["y"] + box["h"], box["x"] : box["x"] + box["w"]]
                shrinks = min(part.shape) > side
                method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
                crops[i, k, 0] = cv2.resize(part, (side, side), interpolation=method)
                mask[i, k] = True
        return crops, mask
