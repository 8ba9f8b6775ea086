"""Publish a flow run as artifacts in Prefect: progress, outputs of stages, and the comparison."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from httpx import HTTPError
from prefect import task
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE

from structxlip.progress import say
from structxlip.reports.comparison import comparison_table, gain_sentence

REPORTS = Path("reports")
# Columns of the comparison that fit the page at 1,300 px: model, gain, and R@1 and R@5 both ways.
SHOWN = (0, 7, 1, 2, 4, 5)
# The progress lines of stages: `edges scenes: 1,200/4,200 pairs (28 %), 310/s, 10 s left`, and
# `train vanilla: 3/12 epochs, loss 0.436`.
PROGRESS = re.compile(r": (?P<done>[\d,]+)/(?P<total>[\d,]+) [a-z]+\b")


RETRY_S = 30.0  # before a server that was away is asked again
NO_ANSWER = (HTTPError, OSError)  # what Prefect's client raises then


class ProgressArtifact:
    """The progress bar of a stage in the UI. It appears with the first progress line."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._id: UUID | None = None
        self._retry_at_s = 0.0

    def follow(self, line: str) -> None:
        """Move the bar, if ``line`` of the stage's output is a progress line."""
        if found := PROGRESS.search(line):
            done, total = (int(found[part].replace(",", "")) for part in ("done", "total"))
            self._show(100 * min(done / max(total, 1), 1))

    def finish(self) -> None:
        """Move the bar to 100 %, if there is one."""
        if self._id is not None:
            self._show(100.0)

    def _show(self, percent: float) -> None:
        """Show it, if the server answers; a server that is away must not end the work."""
        if time.monotonic() < self._retry_at_s:
            return
        try:
            self._send(percent)
        except NO_ANSWER as error:
            self._retry_at_s = time.monotonic() + RETRY_S
            say(f"{self._stage}: Prefect does not take its progress, and the work goes on: {error}")

    def _send(self, percent: float) -> None:
        if self._id is None:
            self._id = create_progress_artifact(  # type: ignore[assignment]
                percent, key=artifact_key("progress", self._stage), description=self._stage
            )
        else:
            update_progress_artifact(self._id, percent)


@contextmanager
def if_the_server_answers(what: str) -> Iterator[None]:
    """Publish in the block; a server that is away is said, and fails nothing."""
    try:
        yield
    except NO_ANSWER as error:
        say(f"Prefect does not take {what}, and the run goes on: {error}")


def publish_outs(stage: str, outs: Sequence[str]) -> None:
    """Publish where the outputs of a stage are, with their sizes.

    They are paths in the project's folder: browsers open no `file://` links from a page of the
    server.
    """
    rows = [[f"`{out}`", _size(Path(out))] for out in outs]
    with if_the_server_answers("where the outputs are"):
        create_markdown_artifact(
            markdown_table([["output", "size"], *rows]),
            key=artifact_key("outputs", stage),
            description=f"What `{stage}` made",
        )


@task(task_run_name="comparison@{dataset}", cache_policy=NO_CACHE)
def publish_comparison(dataset: str) -> None:
    """Publish the comparison of the models: what it says, a table, and a picture of the gain."""
    folder = REPORTS / dataset
    metrics = json.loads((folder / "comparison.json").read_text(encoding="utf-8"))
    page = [
        f"**{gain_sentence(metrics)}** (95 % bootstrap interval). R@k is recall in percent on "
        f"{metrics['test_pairs']} test images.",
        markdown_table([[row[column] for column in SHOWN] for row in comparison_table(metrics)]),
        f"![The gain over vanilla]({_data_url(folder / 'gain.svg')})",
        f"More tables, curves and pictures are in `{folder / 'report.html'}`.",
    ]
    create_markdown_artifact(
        "\n\n".join(page),
        key=artifact_key("comparison", dataset),
        description=f"Recall on the test split of `{dataset}`",
    )


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a table; the first row is the header."""
    header, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([header, "|---" * len(rows[0]) + "|", *others])


def _data_url(svg: Path) -> str:
    """A picture within the text: a page of the server opens no files."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.read_bytes()).decode()


def artifact_key(kind: str, name: str) -> str:
    """The key of an artifact. Prefect allows lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", f"{kind}-{name}".lower())


def _size(path: Path) -> str:
    """The size of a file or folder, as text in MiB."""
    files = path.rglob("*") if path.is_dir() else [path]
    return f"{sum(file.stat().st_size for file in files if file.is_file()) / 2**20:.1f} MiB"
