"""DVC stages as Prefect tasks: list them, ask whether they are out of date, and run one."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed

from tasks.commands import INTERRUPTED, follow_command
from tasks.reporting import publish_outs
from tasks.repository import DVC, repository


@dataclass(frozen=True)
class Stage:
    """A stage: its name in DVC, and the paths of its outputs."""

    name: str
    outs: tuple[str, ...]


def stages_of(dataset: str) -> list[Stage]:
    """The stages of a dataset, and all stages that they depend on, in the order of DVC."""
    from dvc.repo.reproduce import plan_repro

    with repository() as repo:
        graph = repo.index.graph
        own = [stage for stage in graph if _dataset_of(stage.addressing) == dataset]
        plan = plan_repro(graph, own) if own else []
        return [Stage(stage.addressing, tuple(map(str, stage.outs))) for stage in plan]


def _dataset_of(name: str) -> str:
    """The dataset of a stage: `scenes` for `edges@scenes` and for `train@scenes-vanilla`."""
    return name.partition("@")[2].partition("-")[0]


def out_of_date(stages: Sequence[Stage]) -> bool:
    """Whether DVC would run any of the stages: data, parameters or code have changed."""
    with repository() as repo:
        return bool(repo.status(targets=[stage.name for stage in stages]))


def put_back(stage: Stage) -> None:
    """Take the former outputs of a stage that failed from DVC's cache.

    DVC removes them before it runs the stage, and what comes after would find nothing.
    """
    if missing := [out for out in stage.outs if not Path(out).exists()]:
        command = [*DVC, "checkout", "--quiet", *missing]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        back = [out for out in missing if Path(out).exists()]
        said = f"the former {', '.join(back)} is back" if back else "there was no former output"
        get_run_logger().info("%s: %s %s", stage.name, said, done.stderr.strip())


def was_interrupted(_task: object, _task_run: object, state: State[Any]) -> bool:
    """Whether Prefect should run the task again."""
    return state.name == INTERRUPTED


def push_to_remote(dataset: str, stages: Sequence[Stage]) -> None:
    """Keep the outputs of stages in DVC's default remote, where there is one.

    A remote that is away fails no run: the next one sends what is missing there.
    """
    with repository() as repo:
        if not repo.config["core"].get("remote"):
            return
    state = _push(dataset, stages, return_state=True)
    if not state.is_completed():
        get_run_logger().warning("the outputs are not in the remote yet: %s", state.message)


@task(
    task_run_name="push@{dataset}",
    cache_policy=NO_CACHE,
    retries=2,  # a remote that is away may come back
    retry_delay_seconds=[10, 60],
)
def _push(dataset: str, stages: Sequence[Stage]) -> State[Any]:
    command = [*DVC, "push", *(stage.name for stage in stages)]
    state, _ = follow_command(f"push@{dataset}", command, {})
    return state or Completed()


@task(
    task_run_name="{stage.name}",
    cache_policy=NO_CACHE,
    # A stage that was killed, for lack of memory for example, continues from its checkpoint when it
    # runs again. A stage that failed by itself would fail again.
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=was_interrupted,
)
def run_stage(stage: Stage, environment: dict[str, str], silent_minutes: float) -> State[Any]:
    """Run one stage through DVC.

    Its output becomes the log and the progress bar of the task.

    Args:
        stage: the stage.
        environment: environment variables of the stage, in addition to those of this process.
        silent_minutes: after so many minutes without a line the stage counts as hung, and ends.

    Returns:
        `Completed`, `Cached` for a stage that was up to date, `Failed`, or `Interrupted`.
    """
    command = [*DVC, "repro", "--single-item", stage.name]
    state, tail = follow_command(stage.name, command, environment, silent_minutes)
    if state is not None:
        put_back(stage)
        return state
    publish_outs(stage.name, stage.outs)
    skipped = any(line.startswith("Stage ") and "skipping" in line for line in tail)
    return Completed(name="Cached" if skipped else "Completed")
