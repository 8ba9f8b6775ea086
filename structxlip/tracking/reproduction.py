"""Make a model version again, in a new folder, from what its lineage says."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from structxlip.config.project import create_project
from structxlip.errors import UserError
from structxlip.incremental.artifacts import REPORTS
from structxlip.progress import say
from structxlip.tracking.connection import flatten, registry
from structxlip.tracking.lineage import CHANGES, COPIED, Origin, find_version, git, read_origin

METRICS = "comparison.json"
DVC = (sys.executable, "-m", "dvc", "--wait-for-lock")


def reproduce(name: str, folder: Path) -> None:
    """Check out code, parameters and data of a version into a new folder, train both arms anew
    there, and compare what evaluation measures.

    Raises ``UserError`` when something of it is gone, or when the numbers differ.
    """
    client = registry()
    version = find_version(client, name)
    dataset = version.name.removeprefix("structxlip-")
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty; give a new folder", 2)
    with tempfile.TemporaryDirectory() as scratch:
        origin, files = read_origin(client, version, Path(scratch))
        report = client.download_artifacts(version.run_id, f"report/{METRICS}", scratch)
        expected = json.loads(Path(report).read_text())
        project = check_out(origin, files, folder.resolve())
    say(f"reproduce {name}: {folder} has the files of version {version.version}; training anew")
    stages = [f"train@{dataset}-vanilla", f"train@{dataset}-structxlip", f"evaluate@{dataset}"]
    _run(project, *DVC, "repro", "--force", "--single-item", *stages)
    found = json.loads((project / REPORTS / dataset / METRICS).read_text())
    say(f"reproduce {name}: {compare(expected, found)}")


def check_out(origin: Origin, files: Path, folder: Path) -> Path:
    """Clone this repository at the commit of a version, with its changes, parameters and data.

    Returns the folder of the project in it, which is below ``folder`` where the project is a part
    of a repository.
    """
    if not origin.commit:
        raise UserError("the version was registered outside of git, so nobody knows its code")
    if origin.untracked:
        say(f"{len(origin.untracked)} files were unknown to git, and are not there: "
            f"{', '.join(origin.untracked[:5])}")  # fmt: skip
    top, part = git("rev-parse", "--show-toplevel"), git("rev-parse", "--show-prefix")
    if not top:
        raise UserError("reproduce needs the repository of the project; run this in its folder")
    here = Path.cwd()
    _run(here, "git", "clone", "--quiet", "--no-checkout", top.decode().strip(), str(folder))
    _run(folder, "git", "checkout", "--quiet", "--detach", origin.commit)
    if (patch := files / CHANGES).exists():
        _run(folder, "git", "apply", str(patch))
    project = folder / part.decode().strip()
    for name in COPIED:
        if (files / name).exists():
            shutil.copyfile(files / name, project / name)
    if not (project / "structxlip").exists():  # the project of an installed package
        create_project(project)
    cache = subprocess.run([*DVC, "cache", "dir"], capture_output=True, text=True, check=False)
    _run(project, *DVC, "cache", "dir", "--local", str(Path(cache.stdout.strip()).resolve()))
    _run(project, *DVC, "checkout", "--quiet", "--allow-missing")
    return project


def compare(expected: dict[str, object], found: dict[str, object]) -> str:
    """How far numbers are from those that are expected; ``UserError`` when they are not equal."""
    wanted = {key: value for key, value in flatten(expected).items() if _is_number(value)}
    others = flatten(found)
    apart = {
        key: abs(float(others.get(key, math.nan)) - value)
        for key, value in wanted.items()
        if others.get(key) != value
    }
    if not apart:
        return f"all {len(wanted)} numbers of {METRICS} are equal to the bit"
    worst = max(apart, key=lambda key: math.inf if math.isnan(apart[key]) else apart[key])
    raise UserError(
        f"{len(apart)} of {len(wanted)} numbers of {METRICS} differ, most of all {worst} by "
        f"{apart[worst]:.3g}; another machine or other versions of packages round differently"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _run(folder: Path, *command: str) -> None:
    """Run a command in a folder, with the code of that folder and an MLflow of its own there."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(folder)}
    for name in ("MLFLOW_TRACKING_URI", "GIT_DIR", "GIT_WORK_TREE"):
        environment.pop(name, None)
    done = subprocess.run(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"`{' '.join(command[:5])}` failed in {folder}, as said above")
