"""Publish the table of an experiment: JSON, Markdown, picture, page, MLflow, and its origin."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.data.shards import read_shards
from structxlip.incremental.artifacts import REPORTS, atomic_files
from structxlip.incremental.row_cache import signature
from structxlip.progress import say
from structxlip.reports.evidence import write_evidence
from structxlip.reports.markdown import markdown_table
from structxlip.reports.provenance import Provenance, provenance
from structxlip.tracking.experiment_log import log_experiment

CACHE = Path(".cache/experiments")


@dataclass(frozen=True)
class Table:
    """A table for readers.

    Attributes:
        about: what the numbers are, in sentences.
        header: the names of the columns.
        rows: the cells of each row.
    """

    about: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def publish(
    name: str,
    params: Params,
    found: Mapping[str, Any],
    *,
    table: Table,
    verdict: str,
    figure: str,
    command: str | None = None,
) -> None:
    """Write a finished experiment to ``reports/<dataset>``, say its verdict, and log it.

    Args:
        name: of the experiment, such as `compare`; the files are ``compare.json``, ``compare.md``
            and ``compare.svg``. The page ``evidence.html`` shows all experiments of the dataset.
        params: of the project.
        found: the numbers, with the keys `dataset`, `seeds` and `rows`.
        table: the numbers for readers.
        verdict: what they say, in one sentence.
        figure: the numbers as an SVG.
        command: repeats the experiment; None for one that takes a number of seeds.
    """
    dataset = found["dataset"]
    folder = REPORTS / dataset
    made = provenance(command or f"structxlip {name} {dataset} --seeds {len(found['seeds'])}")
    content = {**found, "verdict": verdict, "table": asdict(table), "made": made.sentence}
    with atomic_files(folder, name) as directory:
        (directory / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")
        (directory / f"{name}.md").write_text(markdown(table, verdict, made))
        (directory / f"{name}.svg").write_text(figure)
    write_evidence(folder)
    say(f"{name} {dataset}: {verdict}")
    files = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "svg")]
    log_experiment(name, dataset, params, found["rows"], verdict=verdict, files=files)


def markdown(table: Table, verdict: str, made: Provenance) -> str:
    """A table as Markdown, with what it says and what made it."""
    said = f"{verdict[:1].upper()}{verdict[1:]}."
    shown = markdown_table(table.header, table.rows)
    return "\n\n".join([table.about, shown, said, made.sentence]) + "\n"


def pictures_key(pairs: Path) -> str:
    """A hash of the pictures of a pair store: which there are, in which order and split."""
    columns = read_shards(pairs, ["id", "split", "sha256"]).to_pydict()
    return signature(json.dumps(columns))
