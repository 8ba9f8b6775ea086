"""Filling arrays on disk, such as a feature store, so that a killed run goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from structxlip.features.groups import caption_groups, caption_ids
from structxlip.features.store import RowSpec, StoreSpec

FLUSH_S = 5.0  # at most so much work is done again after a kill


class ArrayWriter:
    """Fills arrays of a folder from their first rows to their last.

    Every ``FLUSH_S`` seconds the new rows go to disk, and then their number into a note beside the
    folder. A writer of the same folder starts from that note; it must write the same rows.

    Args:
        directory: the folder, which is made.
        rows: the number of rows, and one row, of each array.

    Attributes:
        filled: how many rows each array has.
    """

    def __init__(self, directory: Path, rows: Mapping[str, tuple[int, RowSpec]]) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._note = directory.with_name(f"{directory.name}.json")

        def arrays(mode: Literal["r+", "w+"]) -> dict[str, np.memmap]:
            return {
                name: _open_array(directory / f"{name}.npy", mode, row.dtype, (count, *row.shape))
                for name, (count, row) in rows.items()
            }

        try:
            self.filled: dict[str, int] = json.loads(self._note.read_text())
            self.arrays = arrays("r+")
        except (OSError, ValueError):  # no earlier run to go on from
            self._note.unlink(missing_ok=True)
            self.filled = dict.fromkeys(rows, 0)
            try:
                self.arrays = arrays("w+")
            except OSError:  # the disk is too small; leave it as it was
                shutil.rmtree(directory)
                raise
        self._flushed_s = time.monotonic()

    def append(self, **values: bytes) -> None:
        """Add the next rows of each array, given as their bytes."""
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
        partial = self._note.with_suffix(".tmp")
        with partial.open("w") as file:
            json.dump(self.filled, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._note)
        self._flushed_s = time.monotonic()


class FeatureWriter(ArrayWriter):
    """Fills the arrays of a feature store, in the order of the pair store.

    Args:
        directory: the folder of the store.
        spec: what the store holds.
        ids: the id of each pair.
        splits: the split of each pair.
        caption_counts: the number of captions of each pair.
        chunk_counts: the number of chunks of each caption.
        caption_texts: the captions; pairs with a common caption become one group.
        names_side: whether each caption tells left from right.
    """

    def __init__(
        self,
        directory: Path,
        spec: StoreSpec,
        *,
        ids: list[str],
        splits: list[str],
        caption_counts: Iterable[int],
        chunk_counts: Iterable[int],
        caption_texts: Iterable[str],
        names_side: Sequence[bool],
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        caption_offsets = _offsets(caption_counts)
        (directory / "sizes.json").write_text(json.dumps(asdict(spec), indent=2) + "\n")
        (directory / "index.json").write_text(json.dumps({"ids": ids, "splits": splits}))
        np.save(directory / "caption_offsets.npy", caption_offsets)
        np.save(directory / "chunk_offsets.npy", _offsets(chunk_counts))
        equal = caption_ids(caption_texts)
        owners = np.repeat(np.arange(len(ids)), np.diff(caption_offsets))
        np.save(directory / "caption_ids.npy", equal)
        np.save(directory / "group_ids.npy", caption_groups(owners, equal))
        np.save(directory / "names_side.npy", np.array(names_side, np.bool_))
        rows = {
            "image": (spec.pairs, spec.image),
            "caption": (spec.captions, spec.text),
            "structure": (spec.captions, spec.text),
            "chunks": (spec.chunks, spec.chunk),
        }
        if spec.copies:
            one = RowSpec(spec.image.dtype, (spec.copies, *spec.image.shape))
            rows["copies"] = (splits.count("train"), one)
        super().__init__(directory, rows)


def _open_array(
    path: Path, mode: Literal["r+", "w+"], dtype: str, shape: tuple[int, ...]
) -> np.memmap:
    """Map a new or an old array, with all of its place on the disk taken.

    A file with holes would end the process by a signal, without a word, when the disk is full.
    """
    array = np.lib.format.open_memmap(path, mode, np.dtype(dtype), shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _offsets(counts: Iterable[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.fromiter(counts, np.int64))]).astype(np.int64)
