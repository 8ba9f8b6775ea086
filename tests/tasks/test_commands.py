"""A command under Prefect ends with its run, however that ends, and when it hangs."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tasks import commands
from tasks.commands import INTERRUPTED, follow_command
from tests.operation import ROOT, eventually

# A command like `dvc repro`: it starts a stage, and does not end it when it ends itself.
TREE = """
import subprocess, sys, time
stage = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(stage.pid, flush=True)
time.sleep(600)
"""
ENGINE = f"""
import sys, time
from tasks.commands import _process_group
with _process_group([sys.executable, "-c", {TREE!r}], {{}}) as process:
    print(process.stdout.readline(), end="", flush=True)
    time.sleep(600)
"""


def ended(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_nothing_lives_on_when_the_engine_is_killed() -> None:
    engine = subprocess.Popen(
        [sys.executable, "-c", ENGINE], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert engine.stdout is not None
        stage = int(engine.stdout.readline())
        started = psutil.Process(engine.pid).children(recursive=True)
        assert stage in {process.pid for process in started}
    finally:
        engine.kill()
        engine.wait()
    for process in started:
        assert eventually(lambda pid=process.pid: ended(pid), timeout_s=30)  # type: ignore[misc]


def test_a_command_that_hangs_is_ended_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "get_run_logger", lambda: logging.getLogger("test"))
    hangs = [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(600)"]
    state, tail = follow_command("hangs", hangs, {}, silent_minutes=0.05)
    assert state is not None
    assert (state.name, state.message, tail) == (
        INTERRUPTED,
        "it said nothing for 0.05 minutes, and was ended",
        ["1"],
    )


@pytest.mark.parametrize(("code", "name"), [(3, "Failed"), (75, INTERRUPTED), (-9, INTERRUPTED)])
def test_the_exit_code_passes_the_leash(
    code: int, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "get_run_logger", lambda: logging.getLogger("test"))
    ends = f"import os, sys; os.kill(os.getpid(), {-code}) if {code} < 0 else sys.exit({code})"
    state, _ = follow_command("ends", [sys.executable, "-c", ends], {})
    assert state is not None
    assert state.name == name
