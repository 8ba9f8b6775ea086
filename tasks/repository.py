"""The DVC repository of the project: opened when it is free, and mended after a kill."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
