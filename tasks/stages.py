"""DVC stages as Prefect tasks: which there are, which are out of date, and running one."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Completed, Failed

from tasks.reporting import ProgressArtifact, publish_outs

BIN = Path(sys.executable).parent
# Less than the 30 s after which Prefect kills a flow run that is being cancelled.
GRACE_S = 10.0
INTERRUPTED = "Interrupted"
STAGE_SAYS = "structxlip: "
DVC_SAYS = "ERROR: "
TAIL_LINES = 200
# Ray colours what it passes on of its workers; the log in the UI does not show colours.
COLOUR = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True)
class Stage:
    """A stage as DVC names it, and the paths that it writes."""

    name: str
    outs: tuple[str, ...]


def stages_of(dataset: str) -> list[Stage]:
    """The stages of a dataset and all that they depend on, in the order in which DVC runs them."""
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    with Repo() as repo:
        graph = repo.index.graph
        own = [stage for stage in graph if _dataset_of(stage.addressing) == dataset]
        plan = plan_repro(graph, own) if own else []
        return [Stage(stage.addressing, tuple(map(str, stage.outs))) for stage in plan]


def _dataset_of(name: str) -> str:
    """`scenes` of `edges@scenes` and of `train@scenes-vanilla`: the first key of the template."""
    return name.partition("@")[2].partition("-")[0]


def out_of_date(stages: Sequence[Stage]) -> bool:
    """Whether DVC would run any of the stages."""
    from dvc.repo import Repo

    with Repo() as repo:
        return bool(repo.status(targets=[stage.name for stage in stages]))


def _was_interrupted(_task: object, _task_run: object, state: State[Any]) -> bool:
    return state.name == INTERRUPTED


@task(
    task_run_name="{stage.name}",
    cache_policy=NO_CACHE,
    # A stage that was killed, for want of memory for example, goes on from its checkpoint. One
    # that failed by itself would fail again.
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=_was_interrupted,
)
def run_stage(stage: Stage, environment: dict[str, str]) -> State[Any]:
    """Run one stage through DVC, its output as the log and the progress of the task.

    ``environment`` is what the stage gets beside the variables of this process.
    """
    logger = get_run_logger()
    progress = ProgressArtifact(stage.name)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage.name]
    with _process_group(command, environment) as process:
        assert process.stdout is not None
        for line in (COLOUR.sub("", line.rstrip()) for line in process.stdout):
            logger.log(
                logging.ERROR if line.startswith((STAGE_SAYS, DVC_SAYS)) else logging.INFO, line
            )
            progress.follow(line)
            tail.append(line)
        code = process.wait()
    if code != 0:
        return failed_state(list(tail))
    progress.finish()
    publish_outs(stage.name, stage.outs)
    skipped = any(line.startswith("Stage ") and "skipping" in line for line in tail)
    return Completed(name="Cached" if skipped else "Completed")


def failed_state(output: list[str]) -> State[Any]:
    """The state of a stage that failed: what it says itself, or else what DVC says of it."""
    stage = [line.removeprefix(STAGE_SAYS) for line in output if line.startswith(STAGE_SAYS)]
    dvc = [line.removeprefix(DVC_SAYS) for line in output if line.startswith(DVC_SAYS)]
    message, *_ = stage[-1:] or dvc[:1] or output[-1:] or ["DVC failed without a word"]
    exit_code = re.search(r"exited with (-?\d+)$", "\n".join(dvc), re.MULTILINE)
    # The shell reports a signal as 128 + its number, Python as its negative.
    killed = exit_code is not None and not 0 <= int(exit_code[1]) <= 128
    return Failed(name=INTERRUPTED if killed else "Failed", message=message)


@contextmanager
def _process_group(
    command: Sequence[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a command as the head of a process group; an exception in the block ends all of it.

    DVC dies of SIGTERM without a word to the stage that it runs, which would go on and write.
    """
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    process = subprocess.Popen(
        command,
        env=os.environ | {"PATH": path} | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        head = psutil.Process(process.pid)
        members = [head, *head.children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(members, timeout=GRACE_S)
        for member in alive:
            member.kill()
        raise
