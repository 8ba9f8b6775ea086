"""Experiments as Prefect tasks: run the command, and publish its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.commands import BIN, follow_command
from tasks.reporting import REPORTS, artifact_key
from tasks.stages import was_interrupted


@task(
    task_run_name="{experiment}@{dataset}",
    cache_policy=NO_CACHE,
    # An experiment that was killed keeps the trainings that are done.
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=was_interrupted,
)
def run_experiment(experiment: str, dataset: str, seeds: int) -> State[Any]:
    """Run ``structxlip EXPERIMENT DATASET --seeds SEEDS``, and publish its table.

    Returns the state `Completed`, `Failed` or `Interrupted`.
    """
    command = [str(BIN / "structxlip"), experiment, dataset, "--seeds", str(seeds)]
    state, _ = follow_command(f"{experiment}@{dataset}", command, {})
    if state is not None:
        return state
    table: Path = REPORTS / dataset / f"{experiment}.md"
    create_markdown_artifact(
        table.read_text(encoding="utf-8"),
        key=artifact_key(experiment, dataset),
        description=f"`{experiment}` of `{dataset}`",
    )
    return Completed()
