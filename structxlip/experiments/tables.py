"""What all experiments share: where they keep files, and how they publish a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.data.shards import read_shards
from structxlip.incremental.artifacts import REPORTS, atomic_files
from structxlip.incremental.row_cache import signature
from structxlip.progress import say
from structxlip.tracking.experiment_log import log_experiment

CACHE = Path(".cache/experiments")


def publish(
    name: str, params: Params, found: Mapping[str, Any], *, table: str, verdict: str
) -> None:
    """Write a finished experiment to ``reports/<dataset>``, say its verdict, and log it.

    Args:
        name: of the experiment, such as `compare`; the files are ``compare.json`` and
            ``compare.md``.
        params: of the project.
        found: the numbers, with the keys `dataset` and `rows`.
        table: the same as Markdown.
        verdict: what the numbers say, in one sentence.
    """
    dataset = found["dataset"]
    folder = REPORTS / dataset
    with atomic_files(folder, name) as directory:
        (directory / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
        (directory / f"{name}.md").write_text(table)
    say(f"{name} {dataset}: {verdict}")
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    log_experiment(name, dataset, params, found["rows"], verdict=verdict, files=files)


def pictures_key(pairs: Path) -> str:
    """A hash of the pictures of a pair store: which there are, in which order and split."""
    columns = read_shards(pairs, ["id", "split", "sha256"]).to_pydict()
    return signature(json.dumps(columns))
