"""Commands under Prefect: their output as log and progress, their errors as states."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from prefect.client.schemas.objects import State
from prefect.logging import get_run_logger
from prefect.states import Failed

from structxlip.errors import PASSING
from tasks.reporting import ProgressArtifact

BIN = Path(sys.executable).parent
LEASH = Path(__file__).with_name("leash.py")
SILENT_MINUTES = 120.0
# Seconds between the signal to end a command and its kill. Less than the 30 s after which Prefect
# kills a flow run that is being cancelled.
GRACE_S = 10.0
INTERRUPTED = "Interrupted"  # name of the state of a command that was killed
STAGE_ERROR_PREFIX = "structxlip: "
DVC_ERROR_PREFIX = "ERROR: "
TAIL_LINES = 200  # last lines of a command's output, in which its error is looked for
# Ray colours the output of its workers, and the log in the UI would show the codes.
COLOUR_CODE = re.compile(r"\x1b\[[\d;]*m")


def follow_command(
    name: str,
    command: Sequence[str],
    environment: dict[str, str],
    silent_minutes: float = SILENT_MINUTES,
) -> tuple[State[Any] | None, list[str]]:
    """Run a command in a task. Its output becomes the log and the progress bar of the task.

    Args:
        name: of the progress bar.
        command: the program and its arguments.
        environment: environment variables, in addition to those of this process.
        silent_minutes: after so many minutes without a line the command counts as hung, and ends.

    Returns:
        None, or the state `Failed` or `Interrupted` of a command that failed; and the last lines
        of its output.
    """
    logger = get_run_logger()
    progress = ProgressArtifact(name)
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with (
        _process_group(command, environment) as process,
        _Listener(process, 60 * silent_minutes) as listener,
    ):
        assert process.stdout is not None
        for line in (COLOUR_CODE.sub("", line.rstrip()) for line in process.stdout):
            listener.heard()
            is_error = line.startswith((STAGE_ERROR_PREFIX, DVC_ERROR_PREFIX))
            logger.log(logging.ERROR if is_error else logging.INFO, line)
            progress.follow(line)
            tail.append(line)
        exit_code = process.wait()
    if listener.was_silent:
        message = f"it said nothing for {silent_minutes:g} minutes, and was ended"
        return Failed(name=INTERRUPTED, message=message), list(tail)
    if exit_code != 0:
        return failed_state(list(tail), exit_code), list(tail)
    progress.finish()
    return None, list(tail)


def failed_state(output: list[str], exit_code: int = 1) -> State[Any]:
    """The state of a command that failed, from the last lines of its output and its exit code.

    The message is the error of structxlip itself, or else that of DVC, or else the last line.
    """
    stage_errors = _lines_after(STAGE_ERROR_PREFIX, output)
    dvc_errors = _lines_after(DVC_ERROR_PREFIX, output)
    candidates = stage_errors[-1:] or dvc_errors[:1] or output[-1:]
    message, *_ = candidates or ["it failed without a word"]
    if of_stage := re.search(r"exited with (-?\d+)$", "\n".join(dvc_errors), re.MULTILINE):
        exit_code = int(of_stage[1])
    # The shell reports a signal as 128 + its number, Python as its negative.
    killed = exit_code == PASSING or not 0 <= exit_code <= 128
    return Failed(name=INTERRUPTED if killed else "Failed", message=message)


def _lines_after(prefix: str, output: list[str]) -> list[str]:
    """The lines that start with a prefix, without it."""
    return [line.removeprefix(prefix) for line in output if line.startswith(prefix)]


class _Listener:
    """Ends a process group that says nothing for too long."""

    def __init__(self, process: subprocess.Popen[str], limit_s: float) -> None:
        self.process, self.limit_s, self.was_silent = process, limit_s, False
        self.done = threading.Event()
        self.heard()

    def heard(self) -> None:
        """Note that there was a line."""
        self.last_s = time.monotonic()

    def __enter__(self) -> _Listener:
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(min(1.0, self.limit_s)):
            if time.monotonic() - self.last_s > self.limit_s:
                self.was_silent = True
                _end_group(self.process)
                return


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
        [sys.executable, "-I", str(LEASH), *command],
        env=os.environ | {"PATH": path} | environment,
        stdin=subprocess.PIPE,  # which closes when this process ends, however it ends
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    except BaseException:
        _end_group(process)
        raise
    finally:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _end_group(process: subprocess.Popen[str]) -> None:
    """End a process with all of its group, and kill what does not end in time."""
    with suppress(psutil.NoSuchProcess, ProcessLookupError):
        head = psutil.Process(process.pid)
        members = [head, *head.children(recursive=True)]
        os.killpg(process.pid, signal.SIGTERM)
        _, alive = psutil.wait_procs(members, timeout=GRACE_S)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()
