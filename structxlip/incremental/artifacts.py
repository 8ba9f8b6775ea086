"""The folders of artifacts, and atomic writes: an artifact is complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from structxlip.data.quarantine import QUARANTINE, RefusedData, write_quarantine
from structxlip.errors import UserError

DATA, MODELS, REPORTS = Path("data"), Path("models"), Path("reports")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``path`` when the block succeeds.

    When the block raises, ``path`` stays as it was. When the process is killed, ``path`` is the old
    folder, the new one, or absent; the next call removes what the killed process left behind.
    """
    with _staging(path.parent, path.name) as temporary:
        yield temporary
        old = temporary.with_name(f"{temporary.name}-old")
        _swap(temporary, path, old)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def atomic_artifact(path: Path) -> Iterator[Path]:
    """Yield an empty folder as ``atomic_directory`` does, for an artifact with a quarantine.

    When the block raises ``RefusedData``, the list of what was left out goes into the folder
    ``<path>.refused``, and the ``UserError`` that follows names it. The next success removes it.
    """
    refused = path.with_name(f"{path.name}.refused")
    try:
        with atomic_directory(path) as directory:
            yield directory
    except RefusedData as refusal:
        with atomic_directory(refused) as directory:
            write_quarantine(refusal.rejected, directory)
        raise UserError(f"{refusal}; {refused / QUARANTINE} lists them") from None
    shutil.rmtree(refused, ignore_errors=True)


def replace_directory(source: Path, target: Path) -> None:
    """Move the finished folder ``source`` to ``target``.

    When it fails, ``target`` is the old folder. When the process is killed, it is the old folder,
    the new one, or absent; never a part.
    """
    with _staging(target.parent, target.name) as temporary:
        try:
            _swap(source, target, temporary / "old")
        except OSError as error:
            if error.errno != errno.EXDEV:  # on another file system it can only be copied
                raise
            shutil.copytree(source, temporary / "new")
            _swap(temporary / "new", target, temporary / "old")
            shutil.rmtree(source)


def _swap(source: Path, target: Path, old: Path) -> None:
    """Rename ``target`` to ``old``, and ``source`` to ``target``; both stay when that fails."""
    existed = target.exists()
    if existed:
        target.rename(old)
    try:
        source.rename(target)
    except OSError:
        if existed:
            old.rename(target)
        raise


@contextmanager
def atomic_files(folder: Path, stage: str) -> Iterator[Path]:
    """Yield an empty folder whose files move into ``folder`` when the block succeeds.

    For stages that write into one folder; ``stage`` names the temporary folder.
    """
    with _staging(folder, stage) as temporary:
        yield temporary
        for path in sorted(temporary.iterdir()):
            path.replace(folder / path.name)


@contextmanager
def _staging(folder: Path, name: str) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for stale in folder.glob(f".{name}.tmp-*"):
        shutil.rmtree(stale)
    temporary = folder / f".{name}.tmp-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
