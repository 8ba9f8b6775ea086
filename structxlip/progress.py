"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

LOG_INTERVAL_S = 5.0


class Advance(Protocol):
    def __call__(self, n: int, note: str = "") -> None: ...


@contextmanager
def progress(
    description: str, total: int, unit: str = "samples", done: int = 0
) -> Iterator[Advance]:
    """Yield ``advance(n, note)``, which shows how many of ``total`` units are done, the rate, the
    time left, and a note; ``done`` of them were so before.

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
                return Text(f"{unit}, {_shown(task.finished_speed or task.speed or 0)}/s")

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate())
        note = TextColumn("{task.fields[note]}")
        with Progress(*columns, TimeRemainingColumn(), note) as bar:
            task = bar.add_task(description, total=total, completed=done, note="")

            def move(n: int, note: str = "") -> None:
                bar.update(task, advance=n, note=note)

            yield move
        return

    before, started, shown, said = done, time.monotonic(), time.monotonic(), ""

    def line() -> None:
        rate = (done - before) / max(time.monotonic() - started, 1e-9)
        percent = 100 * done / total if total else 100
        say(
            f"{description}: {done:,}/{total:,} {unit} ({percent:.0f} %)"
            + (f", {_shown(rate)}/s, {(total - done) / rate:.0f} s left" if rate else "")
            + said
        )

    def advance(n: int, note: str = "") -> None:
        nonlocal done, shown, said
        done, said = done + n, f", {note}" if note else ""
        if time.monotonic() - shown >= LOG_INTERVAL_S:
            shown = time.monotonic()
            line()

    yield advance
    line()


def _shown(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def say(message: str) -> None:
    """Print one line about the run on standard error (standard output is for results)."""
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
