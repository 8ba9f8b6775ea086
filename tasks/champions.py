"""Registering as a Prefect task: it acts outside of the project, so it is no DVC stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from structxlip.tracking.decisions import read_decisions
from tasks.commands import BIN, follow_command
from tasks.reporting import artifact_key, markdown_table
from tasks.stages import was_interrupted

COLUMNS = ("at", "version", "verdict", "R@1", "of champion", "gain, 95 %", "images", "reason")
SHOWN = 10  # decisions in the table


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
        _decision_page(dataset, tail[-1] if tail else ""),
        key=artifact_key("decision", dataset),
        description=f"The decision of the gate on `{dataset}`",
    )
    return Completed(message=tail[-1] if tail else None)


def _decision_page(dataset: str, said: str) -> str:
    """What was decided now, and a table of the last decisions, the newest first."""
    rows = [
        [
            f"{decision['at'][:16]}",
            decision["version"],
            decision["verdict"],
            _points(decision["recall"]),
            _points(decision["champion_recall"]),
            _interval(decision),
            str(decision["gate_images"] or ""),
            (decision["reason"] or "").replace("|", "/"),
        ]
        for decision in reversed(read_decisions(dataset)[-SHOWN:])
    ]
    return f"**{said}**\n\n{markdown_table([COLUMNS, *rows])}"


def _points(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _interval(decision: dict[str, Any]) -> str:
    if decision["gain"] is None:
        return ""
    return f"{decision['gain_low']:+.1f} to {decision['gain_high']:+.1f}"
