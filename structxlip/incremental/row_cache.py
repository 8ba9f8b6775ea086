"""The row cache: rows that an earlier run of a stage made, to be reused for the same samples."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from structxlip.incremental.row_groups import open_shard

if TYPE_CHECKING:
    import pyarrow as pa

CACHE = Path(".cache/rows")
KEY, KEY_BYTES = "key", 16
OPEN_GROUPS = 128


def row_key(source: bytes) -> bytes:
    """The key of a row: a hash of the bytes that it is made from."""
    return hashlib.blake2b(source, digest_size=KEY_BYTES).digest()


def signature(*parts: str | bytes | Path) -> str:
    """A hash of everything else that rows depend on. A path counts by the content of the file, or
    of the code in the folder."""
    digest = hashlib.blake2b(digest_size=10)
    for part in parts:
        if isinstance(part, Path):
            files = (
                [part] if part.is_file() else sorted([*part.rglob("*.py"), *part.rglob("*.yaml")])
            )
            for path in files:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "blake2b").digest())
        else:
            content = part.encode() if isinstance(part, str) else part
            digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()


@dataclass(frozen=True)
class _CachedShard:
    """A shard, the sizes of its row groups, and the keys of its rows."""

    path: Path
    sizes: list[int]
    keys: pa.Array

    @classmethod
    def read(cls, path: Path) -> _CachedShard | None:
        """None for a file that cannot be read: it counts as absent."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with pq.ParquetFile(path) as file:
                metadata, keys = file.metadata, file.read([KEY])[KEY]
        except (OSError, pa.ArrowInvalid):
            return None
        sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        return cls(path, sizes, pa.concat_arrays(keys.chunks))


class RowCache:
    """The finished shards of earlier runs of a stage, searched by the keys of their rows.

    The shards are hard links in ``.cache/rows/<stage>/<dataset>/<signature>``. They remain when DVC
    removes the artifact before the stage, and they hold what a killed run had finished.

    Args:
        signature: of everything that rows depend on beside their samples; None turns the cache
            off.
    """

    def __init__(self, stage: str, dataset: str, signature: str | None) -> None:
        import pyarrow as pa

        self._home = CACHE / stage / dataset
        self._folder = self._home / signature if signature else None
        self._run = f"{time.time_ns():x}"
        paths = sorted(self._folder.glob("*.parquet")) if self._folder else []
        self._shards = [shard for shard in map(_CachedShard.read, paths) if shard]
        self._groups = [(shard, i) for shard in self._shards for i in range(len(shard.sizes))]
        rows = [shard.sizes[i] for shard, i in self._groups]
        self._starts = np.concatenate([[0], np.cumsum(rows)]).astype(np.int64)
        self._read = lru_cache(OPEN_GROUPS)(self._read_group)
        nothing = pa.array([], pa.binary(KEY_BYTES))
        keys = pa.concat_arrays([nothing, *(shard.keys for shard in self._shards)])
        valid = keys.is_valid().to_numpy(zero_copy_only=False)
        self._keys = np.where(valid[:, None], _as_numbers(keys.buffers()[1]), np.uint64(0))
        usable = np.flatnonzero(valid)
        self._places = usable[np.argsort(self._keys[usable, 0], kind="stable")]
        self._sorted = self._keys[self._places, 0]

    def find(self, keys: bytes) -> NDArray[np.int64]:
        """The places of the rows with these keys (concatenated bytes); -1 where there is none."""
        wanted = _as_numbers(keys)
        if not len(self._places):
            return np.full(len(wanted), -1)
        at = np.searchsorted(self._sorted, wanted[:, 0]).clip(max=len(self._places) - 1)
        places = self._places[at]
        return np.where((self._keys[places] == wanted).all(axis=1), places, -1)

    def rows(self, places: NDArray[np.int64]) -> pa.Table:
        """The rows at some places (at least one), in their order."""
        import pyarrow as pa

        groups = np.searchsorted(self._starts, places, side="right") - 1
        wanted, inverse = np.unique(groups, return_inverse=True)
        tables = [self._read(group) for group in wanted.tolist()]
        starts = np.concatenate([[0], np.cumsum([table.num_rows for table in tables])])
        return pa.concat_tables(tables).take(places - self._starts[groups] + starts[inverse])

    def whole_shard(self, keys: Sequence[bytes], samples: Sequence[pa.Table]) -> Path | None:
        """The shard whose row groups have exactly these keys, and whose columns equal ``samples``
        (what identifies them); None when there is none."""
        import pyarrow as pa

        sizes, start = [len(k) // KEY_BYTES for k in keys], 0
        wanted = _as_numbers(b"".join(keys))
        for shard in self._shards:
            stop = start + sum(shard.sizes)
            if shard.sizes == sizes and (self._keys[start:stop] == wanted).all():
                table = pa.concat_tables(samples)
                same = open_shard(shard.path).read(table.column_names).equals(table)
                return shard.path if same else None
            start = stop
        return None

    def keep(self, shard: Path) -> None:
        """Add a finished shard."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        link_or_copy(shard, self._folder / f"{self._run}-{shard.name}")

    def remove_older(self) -> None:
        """Remove every shard of the stage and dataset that this run has not added."""
        for path in self._home.rglob("*.parquet"):
            if path.parent != self._folder or not path.name.startswith(self._run):
                path.unlink()
        for folder in self._home.glob("*"):
            if not any(folder.iterdir()):
                folder.rmdir()

    def _read_group(self, group: int) -> pa.Table:
        shard, index = self._groups[group]
        return open_shard(shard.path).read_row_group(index)


def _as_numbers(keys: bytes | pa.Buffer) -> NDArray[np.uint64]:
    """Keys as two numbers each, ``[n, 2]``."""
    return np.frombuffer(keys, np.uint64).reshape(-1, 2)


def link_or_copy(source: Path, target: Path) -> None:
    """Make a hard link, or a copy where the file system has no links."""
    try:
        os.link(source, target)
    except OSError:
        partial = target.with_name(f".{target.name}.tmp")
        try:
            shutil.copyfile(source, partial)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
