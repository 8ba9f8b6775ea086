"""Rows that an earlier run of a stage has made, to be taken again for the same samples."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa

STORAGE = Path(".cache/made")
KEY, KEY_BYTES = "key", 16
GROUPS_HELD = 64


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
        files = [pq.ParquetFile(path, memory_map=True) for path in paths]
        self._groups = [(file, i) for file in files for i in range(file.num_row_groups)]
        rows = [file.metadata.row_group(i).num_rows for file, i in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._read = lru_cache(GROUPS_HELD)(self._read_group)
        chunks = [chunk for file in files for chunk in file.read([KEY])[KEY].chunks]
        keys = pa.concat_arrays(chunks) if chunks else pa.array([], pa.binary(KEY_BYTES))
        halves = _halves(keys.fill_null(bytes(KEY_BYTES)).buffers()[1])
        usable = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False))
        self._places = usable[np.argsort(halves[usable, 0], kind="stable")]
        self._halves = halves[self._places]

    def find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """The places of rows with these keys, -1 where there is none."""
        if not keys or not len(self._places):
            return np.full(len(keys), -1)
        wanted = _halves(b"".join(keys))
        at = np.searchsorted(self._halves[:, 0], wanted[:, 0]).clip(max=len(self._places) - 1)
        return np.where((self._halves[at] == wanted).all(axis=1), self._places[at], -1)

    def rows(self, places: NDArray[np.int64]) -> pa.Table:
        """The rows at some places, at least one, in their order."""
        import pyarrow as pa

        groups = np.searchsorted(self._starts, places, side="right") - 1
        wanted, inverse = np.unique(groups, return_inverse=True)
        tables = [self._read(group) for group in wanted.tolist()]
        starts = np.concatenate([[0], np.cumsum([table.num_rows for table in tables])])
        return pa.concat_tables(tables).take(places - self._starts[groups] + starts[inverse])

    def keep(self, shard: Path) -> None:
        """Remember a finished shard."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = self._folder / f"{self._run}-{shard.name}"
        try:
            os.link(shard, kept)
        except OSError:  # a file system without links
            shutil.copyfile(shard, kept)

    def forget_older(self) -> None:
        """Remove everything of the stage and dataset that this run has not kept."""
        for path in self._home.rglob("*.parquet"):
            if path.parent != self._folder or not path.name.startswith(self._run):
                path.unlink()
        for folder in self._home.glob("*"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _read_group(self, group: int) -> pa.Table:
        file, index = self._groups[group]
        return file.read_row_group(index)


def _halves(keys: bytes | pa.Buffer) -> NDArray[np.uint64]:
    """Keys as two numbers each, ``[n, 2]``."""
    return np.frombuffer(keys, np.uint64).reshape(-1, 2)
