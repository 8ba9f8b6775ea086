"""Ray within a stage: its own messages, and where it keeps its files."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from structxlip.ray_session import (
    CORE_NOISE,
    QUIET_LOGGERS,
    QUIET_THREAD,
    SOCKET_BYTES,
    core_noise_filtered,
    quieten,
)


def test_only_the_known_noise_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    line = b"core_worker.cc:1: Actor 'MapWorker' " + CORE_NOISE[0] + b". If the arguments ...\n"
    with core_noise_filtered():
        os.write(2, b"core_worker.cc:2: The node has died\n" + line + b"no newline at the end")
    os.write(2, b"\n" + line)
    said = capfd.readouterr().err
    assert said == f"core_worker.cc:2: The node has died\nno newline at the end\n{line.decode()}"


def test_the_screen_is_back_when_the_block_fails(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), core_noise_filtered():
        raise ValueError("wrong")
    os.write(2, b"here\n")
    assert capfd.readouterr().err == "here\n"


def test_loggers_of_other_rays_business_are_quiet() -> None:
    quieten()
    for name, level in QUIET_LOGGERS.items():
        assert logging.getLogger(name).getEffectiveLevel() == level > logging.WARNING


def test_a_thread_that_fails_is_shown_but_for_the_one_of_ray(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    quieten()
    for name in (QUIET_THREAD, "mine"):
        thread = threading.Thread(target=lambda: 1 / 0, name=name)  # type: ignore[arg-type,return-value]
        thread.start()
        thread.join()
    said = capfd.readouterr().err
    assert "Exception in thread mine" in said
    assert said.count("ZeroDivisionError") == 1


START = """
import sys
from structxlip.ray_session import ray_session
from structxlip.errors import UserError
try:
    with ray_session() as cpus:
        import ray
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
except UserError as error:
    sys.exit(str(error))
"""


def run(**environment: str) -> subprocess.CompletedProcess[str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", START],
        env=mine | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_long_temporary_folder_is_no_hindrance(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * SOCKET_BYTES)
    folder.mkdir()
    done = run(TMPDIR=str(folder))
    assert done.returncode == 0, done.stderr
    told = "Ray's files go to /tmp/ray: the path in TMPDIR is too long for its sockets"
    assert done.stderr.splitlines()[0] == told
    asked_for = run(RAY_TMPDIR=str(folder))
    assert asked_for.returncode == 1
    assert "set RAY_TMPDIR to a folder of at most 35" in asked_for.stderr
