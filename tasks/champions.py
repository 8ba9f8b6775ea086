"""Registering as a Prefect task: it acts outside of the project, so it is no DVC stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from tasks.commands import BIN, follow_command
from tasks.reporting import artifact_key
from tasks.stages import was_interrupted


def is_packaged(dataset: str) -> bool:
    """Whether the stages of a dataset made a package."""
    return Path("models", dataset, "package").is_dir()


@task(
    task_run_name="register@{dataset}",
    cache_policy=NO_CACHE,
    # The same package is registered once, so that a second try does no harm.
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=was_interrupted,
)
def register_package(dataset: str) -> State[Any]:
    """Run ``structxlip register DATASET``, and publish what the gate decided.

    Returns the state `Completed`, `Failed` or `Interrupted`.
    """
    state, tail = follow_command(
        f"register@{dataset}", [str(BIN / "structxlip"), "register", dataset], {}
    )
    if state is not None:
        return state
    create_markdown_artifact(
        tail[-1] if tail else "",
        key=artifact_key("decision", dataset),
        description=f"The decision of the gate on `{dataset}`",
    )
    return Completed(message=tail[-1] if tail else None)
