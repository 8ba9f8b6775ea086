"""Rows that an earlier run of a stage has made, to be taken again for the same samples."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from structxlip.stages.row_groups import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

STORAGE = Path(".cache/made")
KEY, KEY_BYTES = "key", 16
BLOCKS_HELD = 4


def key(source: bytes) -> bytes:
    """What stands for the bytes that a sample is made from."""
    return hashlib.blake2b(source, digest_size=KEY_BYTES).digest()


def signature(*parts: str | bytes | Path) -> str:
    """A name that changes with any part; a file, or the code in a folder, by its content."""
    digest = hashlib.blake2b(digest_size=10)
    for part in parts:
        if isinstance(part, Path):
            files = (
                [part] if part.is_file() else sorted([*part.rglob("*.py"), *part.rglob("*.yaml")])
            )
            contents = [file.read_bytes() for file in files]
        else:
            contents = [part.encode() if isinstance(part, str) else part]
        for content in contents:
            digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class _Shard:
    path: Path
    file: pq.ParquetFile

    @cached_property
    def sizes(self) -> list[int]:
        """The numbers of rows of its row groups."""
        return [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]


class Made:
    """The finished shards of earlier runs, by the keys of their samples.

    They are hard links in ``.cache/made/<stage>/<dataset>/<signature>``: they take no room beside
    the artifact, are there when DVC has removed it before the stage, and hold what a killed run had
    finished. Without a signature there are none, and none are kept.
    """

    def __init__(self, stage: str, dataset: str, signature: str | None) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._home = STORAGE / stage / dataset
        self._folder = self._home / signature if signature else None
        self._run = f"{time.time_ns():x}"
        paths = sorted(self._folder.glob("*.parquet")) if self._folder else []
        self._shards = [_Shard(path, pq.ParquetFile(path)) for path in paths]
        self._blocks = [
            (shard, slice(first, first + BLOCK))
            for shard in self._shards
            for first in range(0, len(shard.sizes), BLOCK)
        ]
        rows = [sum(shard.sizes[block]) for shard, block in self._blocks]
        self._starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._read = lru_cache(BLOCKS_HELD)(self._read_block)
        chunks = [chunk for shard in self._shards for chunk in shard.file.read([KEY])[KEY].chunks]
        keys = pa.concat_arrays(chunks) if chunks else pa.array([], pa.binary(KEY_BYTES))
        valid = keys.is_valid().to_numpy(zero_copy_only=False)
        self._keys = np.where(valid[:, None], _halves(keys.buffers()[1]), np.uint64(0))
        usable = np.flatnonzero(valid)
        self._places = usable[np.argsort(self._keys[usable, 0], kind="stable")]
        self._first_halves = self._keys[self._places, 0]

    def find(self, keys: bytes) -> NDArray[np.int64]:
        """The places of rows with these keys, one after the other; -1 where there is none."""
        wanted = _halves(keys)
        if not len(self._places):
            return np.full(len(wanted), -1)
        at = np.searchsorted(self._first_halves, wanted[:, 0]).clip(max=len(self._places) - 1)
        places = self._places[at]
        return np.where((self._keys[places] == wanted).all(axis=1), places, -1)

    def rows(self, places: NDArray[np.int64]) -> pa.Table:
        """The rows at some places, at least one, in their order."""
        import pyarrow as pa

        blocks = np.searchsorted(self._starts, places, side="right") - 1
        wanted, inverse = np.unique(blocks, return_inverse=True)
        tables = [self._read(block) for block in wanted.tolist()]
        starts = np.concatenate([[0], np.cumsum([table.num_rows for table in tables])])
        return pa.concat_tables(tables).take(places - self._starts[blocks] + starts[inverse])

    def whole(self, keys: Sequence[bytes], samples: Sequence[pa.Table]) -> Path | None:
        """The shard with row groups of just these keys, and with columns like ``samples``."""
        import pyarrow as pa

        sizes, wanted, start = [len(k) // KEY_BYTES for k in keys], _halves(b"".join(keys)), 0
        for shard in self._shards:
            stop = start + sum(shard.sizes)
            if shard.sizes == sizes and (self._keys[start:stop] == wanted).all():
                table = pa.concat_tables(samples)
                same = shard.file.read(table.column_names).equals(table)
                return shard.path if same else None
            start = stop
        return None

    def keep(self, shard: Path) -> None:
        """Remember a finished shard."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        link_or_copy(shard, self._folder / f"{self._run}-{shard.name}")

    def forget_older(self) -> None:
        """Remove everything of the stage and dataset that this run has not kept."""
        for path in self._home.rglob("*.parquet"):
            if path.parent != self._folder or not path.name.startswith(self._run):
                path.unlink()
        for folder in self._home.glob("*"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _read_block(self, block: int) -> pa.Table:
        shard, groups = self._blocks[block]
        indices = list(range(len(shard.sizes)))[groups]
        return shard.file.read_row_groups(indices).combine_chunks()


def _halves(keys: bytes | pa.Buffer) -> NDArray[np.uint64]:
    """Keys as two numbers each, ``[n, 2]``."""
    return np.frombuffer(keys, np.uint64).reshape(-1, 2)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
