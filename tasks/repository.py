"""The DVC repository of the project: opened when it is free, and mended after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structxlip.errors import UserError

# DVC holds the lock of the project while it reads the graph and stores outputs, and not while a
# stage runs. So who waits never waits long.
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")


@contextmanager
def repository() -> Iterator[Any]:
    """The repository of this folder."""
    from dvc.repo import Repo

    with Repo(_wait_for_lock=True) as repo:
        if repo.tmp_dir:
            _mend(Path(repo.tmp_dir))
        yield repo


def update_source(path: str) -> None:
    """Fetch what has changed upstream of a dataset, where DVC imported its path, or a folder above.

    Raises ``UserError`` when the upstream does not answer.
    """
    files = [Path(f"{place}.dvc") for place in (Path(path), *Path(path).parents[:-1])]
    for file in filter(Path.is_file, files):
        done = subprocess.run(
            [*DVC, "update", str(file)], capture_output=True, text=True, check=False
        )
        said = (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
        if done.returncode and "is not an import" not in said and "non-import" not in said:
            raise UserError(f"`dvc update {file}` failed: {said.removeprefix('ERROR: ')}")


def _mend(folder: Path) -> None:
    """Remove DVC's list of busy paths, where a kill has left a half of it; DVC would refuse it."""
    from dvc.lock import make_lock
    from dvc.rwlock import RWLOCK_FILE, RWLOCK_LOCK

    busy = folder / RWLOCK_FILE
    if not _is_damaged(busy):
        return
    with make_lock(str(folder / RWLOCK_LOCK), tmp_dir=str(folder), wait=True):
        if _is_damaged(busy):
            busy.unlink()


def _is_damaged(file: Path) -> bool:
    try:
        json.loads(file.read_bytes())
    except FileNotFoundError:
        return False
    except ValueError:
        return True
    return False
