"""Checkpoints: one file each, which is whole or absent, and verified by a hash."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from structxlip.progress import say

SavedState = dict[str, Any]
STEP, BEST, FAILED = "step", "best", "failed"
_DIGEST_BYTES = 8


class Checkpoints:
    """The checkpoints of a run, in a folder of any file system that fsspec knows.

    A file is called ``<kind>-<step>-<digest>.pt`` after the hash of its bytes. So a file that was
    cut short or changed is recognised, whatever the file system promises.

    Args:
        folder: a path, or a URL such as ``s3://bucket/runs/name``.
        keep: how many of the newest are kept.
    """

    def __init__(self, folder: str, keep: int) -> None:
        from fsspec.core import url_to_fs
        from fsspec.implementations.local import LocalFileSystem

        self.fs, self.folder = url_to_fs(folder)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self.keep = keep

    def save(self, kind: str, step: int, state: SavedState) -> None:
        """Write a checkpoint, then remove older ones beyond ``keep``."""
        self.fs.makedirs(self.folder, exist_ok=True)
        for stale in self._names(f".{kind}-", ".tmp"):  # from a writer that was killed
            self.fs.rm(stale)
        partial = f".{kind}-{step:08d}-{os.getpid()}.tmp"
        with tempfile.TemporaryDirectory() as directory:
            # Local files are written in place: a kill would leave a temporary folder behind.
            file = Path(self.folder if self.is_local else directory) / partial
            try:
                with file.open("wb") as stream:  # with a path, PyTorch hides that a disk is full
                    torch.save(state, stream)
                name = f"{kind}-{step:08d}-{_digest(file)}.pt"
                if not self.is_local:
                    self.fs.put_file(str(file), f"{self.folder}/{partial}")
                self.fs.mv(f"{self.folder}/{partial}", f"{self.folder}/{name}")
            finally:
                file.unlink(missing_ok=True)
        # The newest step checkpoint may still name the best epoch before this one.
        kept = self.keep + (kind == BEST)
        for old in self.files(kind)[kept:]:
            self.fs.rm(old)

    def files(self, kind: str) -> list[str]:
        """The checkpoints of a kind, the newest first."""
        return sorted(self._names(f"{kind}-", ".pt"), reverse=True)

    def newest(self, kind: str = STEP) -> SavedState | None:
        """The newest whole checkpoint, or None. Damaged ones are removed."""
        for name in self.files(kind):
            state = self._read(name)
            if state is not None:
                return state
            self.fs.rm(name)
            say(f"the checkpoint {name} was damaged, and is removed; the one before it is used")
        return None

    def at(self, kind: str, step: int) -> SavedState | None:
        """The checkpoint of a step; None when it is absent or damaged."""
        names = [name for name in self.files(kind) if int(Path(name).stem.split("-")[1]) == step]
        return next((state for name in names if (state := self._read(name)) is not None), None)

    def remove(self) -> None:
        """Remove all checkpoints of the run."""
        if self.fs.exists(self.folder):
            self.fs.rm(self.folder, recursive=True)

    def _names(self, prefix: str, suffix: str) -> list[str]:
        self.fs.invalidate_cache(self.folder)
        try:
            names: list[str] = self.fs.ls(self.folder, detail=False)
        except FileNotFoundError:
            return []
        return [n for n in names if Path(n).name.startswith(prefix) and n.endswith(suffix)]

    def _read(self, name: str) -> SavedState | None:
        """The content of a file; None when its hash differs from its name, or the file is gone."""
        try:
            with self._as_file(name) as file:
                if _digest(file) == Path(name).stem.split("-")[2]:
                    state: SavedState = torch.load(file, map_location="cpu", weights_only=True)
                    return state
        except FileNotFoundError:
            pass
        return None

    @contextmanager
    def _as_file(self, name: str) -> Iterator[Path]:
        if self.is_local:
            yield Path(name)
            return
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "state.pt"
            self.fs.get_file(name, str(file))
            yield file


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        whole = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    return whole.hexdigest()
