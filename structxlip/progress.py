"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOG_INTERVAL_S = 5.0


@contextmanager
def progress(
    description: str, total: int, unit: str = "samples"
) -> Iterator[Callable[[int], None]]:
    """Yield ``advance(n)``, which shows how many of ``total`` units are done, the rate and the time
    left.

    On a terminal this is a live bar; elsewhere a line at most every ``LOG_INTERVAL_S`` seconds, so
    that a log of a long stage stays short.
    """
    if sys.stderr.isatty():
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                return Text(f"{unit}, {task.finished_speed or task.speed or 0:,.0f}/s")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate())
        with Progress(*columns, TimeRemainingColumn()) as bar:
            task = bar.add_task(description, total=total)
            yield lambda n: bar.advance(task, n)
        return

    done, started, shown = 0, time.monotonic(), time.monotonic()

    def line() -> None:
        rate = done / max(time.monotonic() - started, 1e-9)
        left_s = (total - done) / rate if rate else float("inf")
        percent = 100 * done / total if total else 100
        say(
            f"{description}: {done:,}/{total:,} {unit} ({percent:.0f} %), "
            f"{rate:,.0f}/s, {left_s:.0f} s left"
        )

    def advance(n: int) -> None:
        nonlocal done, shown
        done += n
        if time.monotonic() - shown >= LOG_INTERVAL_S:
            shown = time.monotonic()
            line()

    yield advance
    line()


def say(message: str) -> None:
    """Print one line about the run on standard error (standard output is for results)."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
