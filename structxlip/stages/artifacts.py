"""Where artifacts live, and how they are written: completely or not at all."""

from __future__ import annotations

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
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.tmp-*"):
        shutil.rmtree(stale)
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}"
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
