"""Where artifacts live, and how they are written: completely or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DATA, MODELS, REPORTS = Path("data"), Path("models"), Path("reports")


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield an empty folder beside ``path`` that takes its place when the block succeeds.

    When the block raises, or the process is killed, ``path`` is as it was before. What a killed
    process left behind is cleared away by the next call.
    """
    with _staging(path.parent, path.name) as temporary:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)


def replace_directory(source: Path, target: Path) -> None:
    """Let the finished folder ``source`` take the place of ``target``.

    When the process is killed, ``target`` is the old one, the new one, or not there; never a part.
    """
    with _staging(target.parent, target.name) as temporary:
        if target.exists():
            target.rename(temporary / "old")
        try:
            source.rename(target)
        except OSError as error:
            if error.errno != errno.EXDEV:  # on another file system it can only be copied
                raise
            shutil.copytree(source, temporary / "new")
            (temporary / "new").rename(target)
            shutil.rmtree(source)


@contextmanager
def atomic_files(folder: Path, stage: str) -> Iterator[Path]:
    """Yield an empty folder whose files move into ``folder`` when the block succeeds.

    For stages that share a folder.
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
