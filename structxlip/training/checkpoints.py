"""Checkpoints: one file each, whole or not there, and known to be what was written."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from structxlip.progress import say

State = dict[str, Any]
STEP, BEST, FAILED = "step", "best", "failed"
_DIGEST_BYTES = 8


class Checkpoints:
    """The checkpoints of a run in a folder of any file system that fsspec knows.

    A file is called ``<kind>-<step>-<digest>.pt`` after the hash of its bytes, so that one that was
    cut short or changed is seen for what it is, whatever the file system promises.

    Args:
        folder: a path or URL such as ``s3://bucket/runs/name``.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: str, keep: int) -> None:
        from fsspec.core import url_to_fs

        self.fs, self.folder = url_to_fs(folder)
        self.keep = keep

    def save(self, kind: str, step: int, state: State) -> None:
        """Write a checkpoint, then remove those that are no longer kept."""
        self.fs.makedirs(self.folder, exist_ok=True)
        for name in self.fs.ls(self.folder, detail=False):
            if name.endswith(".tmp"):  # of a writer that was killed
                self.fs.rm(name)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "state.pt"
            torch.save(state, file)
            name = f"{kind}-{step:08d}-{_digest(file)}.pt"
            partial = f"{self.folder}/.{name}.tmp"
            self.fs.put_file(str(file), partial)
            self.fs.mv(partial, f"{self.folder}/{name}")
        # A step before a new best one still names the best before it.
        kept = self.keep + (kind == BEST)
        for old in self.files(kind)[kept:]:
            self.fs.rm(old)

    def files(self, kind: str) -> list[str]:
        """The checkpoints of a kind, the newest first."""
        return sorted(self.fs.glob(f"{self.folder}/{kind}-*.pt"), reverse=True)

    def newest(self, kind: str = STEP, device: torch.device | None = None) -> State | None:
        """The newest checkpoint that is whole; None where there is none."""
        return next(self._whole(kind, None, device), None)

    def at(self, kind: str, step: int) -> State | None:
        """The checkpoint of a step."""
        return next(self._whole(kind, step, None), None)

    def _whole(self, kind: str, step: int | None, device: torch.device | None) -> Iterator[State]:
        for name in self.files(kind):
            _, of_step, digest = Path(name).stem.split("-")
            if step is not None and int(of_step) != step:
                continue
            with tempfile.TemporaryDirectory() as directory:
                file = Path(directory) / "state.pt"
                self.fs.get_file(name, str(file))
                if _digest(file) == digest:
                    yield torch.load(file, map_location=device or "cpu", weights_only=True)
                else:
                    say(f"the checkpoint {name} is damaged; the one before it is used")

    def remove(self) -> None:
        """Remove the folder."""
        if self.fs.exists(self.folder):
            self.fs.rm(self.folder, recursive=True)


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        whole = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=_DIGEST_BYTES))
    return whole.hexdigest()
