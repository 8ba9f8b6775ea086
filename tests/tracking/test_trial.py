"""Trials of DVC: their runs go to the store of the project, and they register nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.tracking.commands import register
from structxlip.tracking.trial import project_folder
from tests.operation import ROOT, Project

STAGE = """
from pathlib import Path
import sys
sys.path.insert(0, {root!r})
from structxlip.tracking.trial import project_folder, trial_name
Path("found.txt").write_text(f"{{trial_name()}} {{Path.cwd()}} {{project_folder()}}")
"""
DVC = """
stages:
  tell:
    cmd: {python} stage.py
    params: [seed]
    outs: [{{found.txt: {{cache: false}}}}]
"""


def test_a_trial_in_a_copy_keeps_its_runs_in_the_project(tmp_path: Path) -> None:
    project = Project.create(tmp_path)
    (tmp_path / "stage.py").write_text(STAGE.format(root=str(ROOT)))
    (tmp_path / "dvc.yaml").write_text(DVC.format(python=sys.executable))
    assert project.run("dvc", "repro").returncode == 0
    assert (tmp_path / "found.txt").read_text() == f"None {tmp_path} {tmp_path}"
    project.commit()
    done = project.run("dvc", "exp", "run", "--temp", "--name", "try-it", "-S", "seed=7")
    assert done.returncode == 0, done.stderr
    refs = ["git", "for-each-ref", "--format=%(refname)", "refs/exps"]
    shown = subprocess.run(refs, cwd=tmp_path, capture_output=True, text=True, check=True)
    (ref,) = [line for line in shown.stdout.split() if line.endswith("try-it")]
    show = ["git", "show", f"{ref}:found.txt"]
    found = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=True)
    trial, copy, kept = found.stdout.split()
    assert (trial, kept) == ("try-it", str(tmp_path))
    assert Path(copy).is_relative_to(tmp_path / ".dvc/tmp"), "the trial ran in a copy"


def test_a_project_in_a_stage_of_another_one_keeps_its_own_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path / "inner")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert project_folder() == tmp_path / "inner"


def test_a_trial_registers_nothing(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "try-it")
    with pytest.raises(UserError, match="the trial try-it registers nothing; `dvc exp apply try"):
        register(params, "scenes", None)
