"""A folder that is no git repository, on a machine without git: all runs, and nothing is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.operation import BIN, ROOT, TINY_DVC, TINY_STAGE

MLFLOW = """
from structxlip.tracking.connection import connect, experiment_id

mlflow = connect()
mlflow.set_experiment(experiment_id=experiment_id(mlflow, "scenes"))
with mlflow.start_run():
    mlflow.log_metric("recall", 1.0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A download of this project, with scripts as stages."""
    project = tmp_path / "project"
    (project / ".dvc").mkdir(parents=True)
    shutil.copy(ROOT / ".dvc/config", project / ".dvc")
    shutil.copy(ROOT / "params.yaml", project)
    (project / "dvc.yaml").write_text(TINY_DVC)
    (project / "stage.py").write_text(TINY_STAGE)
    return project


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    shell = folder.parent / "sh"
    if not shell.exists():
        shell.symlink_to("/bin/sh")  # beside it there is no git
    return subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": f"{BIN}:{folder.parent}", "MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_make_tells_dvc_that_there_is_no_git(folder: Path) -> None:
    assert "is not a git repository" in run(folder, "dvc", "repro").stderr
    rule = re.search(r"^NO_GIT = (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert rule is not None
    told = run(folder, "sh", "-c", rule[1])
    assert (told.returncode, told.stdout + told.stderr) == (0, "")
    done = run(folder, "dvc", "repro")
    assert done.returncode == 0, done.stderr
    assert "git" not in done.stdout + done.stderr
    assert (folder / "reports/scenes/report.html").exists()


def test_mlflow_does_not_ask_for_git(folder: Path) -> None:
    done = run(folder, "python", "-c", MLFLOW)
    assert (done.returncode, done.stderr) == (0, "")
