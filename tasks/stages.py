"""DVC stages as Prefect tasks: list them, ask whether they are out of date, and run one."""

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
# Seconds between the signal to end a stage and its kill. Less than the 30 s after which Prefect
# kills a flow run that is being cancelled.
GRACE_S = 10.0
INTERRUPTED = "Interrupted"  # name of the state of a stage that was killed
STAGE_ERROR_PREFIX = "structxlip: "
DVC_ERROR_PREFIX = "ERROR: "
TAIL_LINES = 200  # last lines of a stage's output, in which its error is looked for
# Ray colours the output of its workers, and the log in the UI would show the codes.
COLOUR_CODE = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True)
class Stage:
    """A stage: its name in DVC, and the paths of its outputs."""

    name: str
    outs: tuple[str, ...]


def stages_of(dataset: str) -> list[Stage]:
    """The stages of a dataset, and all stages that they depend on, in the order of DVC."""
    from dvc.repo import Repo
    from dvc.repo.reproduce import plan_repro

    with Repo() as repo:
        graph = repo.index.graph
        own = [stage for stage in graph if _dataset_of(stage.addressing) == dataset]
        plan = plan_repro(graph, own) if own else []
        return [Stage(stage.addressing, tuple(map(str, stage.outs))) for stage in plan]


def _dataset_of(name: str) -> str:
    """The dataset of a stage: `scenes` for `edges@scenes` and for `train@scenes-vanilla`."""
    return name.partition("@")[2].partition("-")[0]


def out_of_date(stages: Sequence[Stage]) -> bool:
    """Whether DVC would run any of the stages."""
    from dvc.repo import Repo

    with Repo() as repo:
        return bool(repo.status(targets=[stage.name for stage in stages]))


def _was_interrupted(_task: object, _task_run: object, state: State[Any]) -> bool:
    """Whether Prefect should run the task again."""
    return state.name == INTERRUPTED


@task(
    task_run_name="{stage.name}",
    cache_policy=NO_CACHE,
    # A stage that was killed, for lack of memory for example, continues from its checkpoint when it
    # runs again. A stage that failed by itself would fail again.
    retries=1,
    retry_delay_seconds=2,
    retry_condition_fn=_was_interrupted,
)
def run_stage(stage: Stage, environment: dict[str, str]) -> State[Any]:
    """Run one stage through DVC.

    Its output becomes the log and the progress bar of the task.

    Args:
        stage: the stage.
        environment: environment variables of the stage, in addition to those of this process.

    Returns:
        `Completed`, `Cached` for a stage that was up to date, `Failed`, or `Interrupted`.
    """
    logger = get_run_logger()
    progress = ProgressArtifact(stage.name)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", stage.name]
    with _process_group(command, environment) as process:
        assert process.stdout is not None
        for line in (COLOUR_CODE.sub("", line.rstrip()) for line in process.stdout):
            is_error = line.startswith((STAGE_ERROR_PREFIX, DVC_ERROR_PREFIX))
            logger.log(logging.ERROR if is_error else logging.INFO, line)
            progress.follow(line)
            tail.append(line)
        exit_code = process.wait()
    if exit_code != 0:
        return failed_state(list(tail))
    progress.finish()
    publish_outs(stage.name, stage.outs)
    skipped = any(line.startswith("Stage ") and "skipping" in line for line in tail)
    return Completed(name="Cached" if skipped else "Completed")


def failed_state(output: list[str]) -> State[Any]:
    """The state of a stage that failed, from the last lines of its output.

    The message is the error of the stage itself, or else that of DVC, or else the last line.
    """
    stage_errors = _lines_after(STAGE_ERROR_PREFIX, output)
    dvc_errors = _lines_after(DVC_ERROR_PREFIX, output)
    candidates = stage_errors[-1:] or dvc_errors[:1] or output[-1:]
    message, *_ = candidates or ["DVC failed without a word"]
    exit_code = re.search(r"exited with (-?\d+)$", "\n".join(dvc_errors), re.MULTILINE)
    # The shell reports a signal as 128 + its number, Python as its negative.
    killed = exit_code is not None and not 0 <= int(exit_code[1]) <= 128
    return Failed(name=INTERRUPTED if killed else "Failed", message=message)


def _lines_after(prefix: str, output: list[str]) -> list[str]:
    """The lines that start with a prefix, without it."""
    return [line.removeprefix(prefix) for line in output if line.startswith(prefix)]


@contextmanager
def _process_group(
    command: Sequence[str], environment: dict[str, str]
) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process group of its own. An exception in the block ends the whole group.

    DVC ends at SIGTERM without ending the stage that it runs, which would go on and write. So the
    signal goes to the whole group.
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
