"""One run of a dataset at a time; runs of other datasets go on side by side."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.logging import get_run_logger

FOLDER = Path(".cache/locks")
POLL_S = 1.0


@contextmanager
def turn(dataset: str) -> Iterator[None]:
    """Wait until no other run of a dataset is under way, whatever deployment it is of.

    The system frees the lock when the process of a run ends, however it ends.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / f"run-{dataset}").open("w") as file:
        waited = False
        while not _take(file.fileno()):
            if not waited:
                get_run_logger().info("another run of %s is under way; waiting", dataset)
            waited = True
            time.sleep(POLL_S)
        yield


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
