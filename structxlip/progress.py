"""Show the progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_INTERVAL_S = 5.0


class Advance(Protocol):
    """Count ``n`` more units as done, and show ``note``, such as the current loss."""

    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def progress(
    description: str, total: int, unit: str = "samples", done: int = 0
) -> Iterator[Advance]:
    """Yield ``advance(n, note)``, which shows the units done, the rate, the time left and a note.

    On a terminal this is a live bar. Elsewhere it is a line at most every ``LOG_INTERVAL_S``
    seconds, so that the log of a long stage stays short, and a last line at the end.

    Args:
        description: name of the work.
        total: number of units.
        unit: name of a unit, in the plural.
        done: units that were done before; they do not count for the rate.
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
                return Text(f"{unit}, {_rate_text(task.finished_speed or task.speed or 0)}/s")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate())
        note = TextColumn("{task.fields[note]}")
        with Progress(*columns, TimeRemainingColumn(), note) as bar:
            task = bar.add_task(description, total=total, completed=done, note="")

            def advance_bar(n: int, note: str = "") -> None:
                bar.update(task, advance=n, note=note)

            yield advance_bar
        return

    done_before, started_s, last_line_s, suffix = done, time.monotonic(), time.monotonic(), ""

    def print_line() -> None:
        rate = (done - done_before) / max(time.monotonic() - started_s, 1e-9)
        percent = 100 * done / total if total else 100
        say(
            f"{description}: {done:,}/{total:,} {unit} ({percent:.0f} %)"
            + (f", {_rate_text(rate)}/s, {(total - done) / rate:.0f} s left" if rate else "")
            + suffix
        )

    def advance(n: int, note: str = "") -> None:
        nonlocal done, last_line_s, suffix
        done, suffix = done + n, f", {note}" if note else ""
        if time.monotonic() - last_line_s >= LOG_INTERVAL_S:
            last_line_s = time.monotonic()
            print_line()

    yield advance
    print_line()


def _rate_text(rate: float) -> str:
    """A rate with two significant digits below 10, and as a whole number above."""
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def say(message: str) -> None:
    """Print one line about the run to standard error. Standard output is for results."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
