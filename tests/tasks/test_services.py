"""`make up` and `make down`: what they start, mend and end, and what they leave alone."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.checkout import settle
from tests.full_disk import mount_namespace
from tests.operation import NO_RAY, Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("operated")]


def test_up_says_that_it_is_up(operated: Project) -> None:
    assert "Prefect was up already: http://127.0.0.1:" in operated.services("up").stdout


def test_up_mends_what_a_killed_worker_leaves(operated: Project) -> None:
    run = operated.start_endless_run(NO_RAY)
    for process in operated.processes():
        if "worker" in process.cmdline() or "prefect.engine" in process.cmdline():
            process.kill()
    mended = operated.services("up")
    assert mended.returncode == 0, mended.stderr
    assert "Prefect is up: http://127.0.0.1:" in mended.stdout
    server, worker = sorted(operated.processes(), key=lambda process: process.create_time())
    assert "server" in server.cmdline()
    assert "worker" in worker.cmdline()
    assert operated.api(f"flow_runs/{run['id']}")["state_type"] == "CRASHED"


def test_down_ends_running_stages_too_and_nothing_else(operated: Project) -> None:
    unrelated = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)", "prefect", "worker", "start"],
        cwd=operated.folder,
    )
    try:
        operated.start_endless_run(NO_RAY)
        ended = operated.services("down")
        assert ended.stdout == "ended the worker and the server\n", ended.stderr
        assert operated.processes() == []
        assert unrelated.poll() is None
        assert not (operated.folder / "data/scenes/pairs").exists()
        assert operated.services("down").stdout == "nothing was up\n"
    finally:
        unrelated.kill()
        unrelated.wait()


def test_a_folder_that_is_read_only_is_one_sentence(tmp_path: Path) -> None:
    project = Project.create(tmp_path)
    mount = 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD"'
    command = f"{mount} && exec {sys.executable} -m tasks.services up"
    refused = subprocess.run(
        [*mount_namespace(), "sh", "-c", command],
        cwd=tmp_path,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert refused.stderr.splitlines()[-1] == (
        "structxlip: .env.tmp cannot be written, it is read-only; run this in a folder that can be "
        "written"
    )


def test_a_port_that_is_taken_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.create(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert settle()
    with socket.create_server(("127.0.0.1", project.port)):
        refused = project.services("up")
    assert refused.returncode == 1
    assert refused.stderr == (
        f"structxlip: port {project.port} is taken by another program; end that one, or give "
        f"another port in .env (twice)\n"
    )
    assert project.processes() == []
