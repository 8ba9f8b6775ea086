"""A version made again: its code and data in a new folder, its trainings, and a comparison."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from structxlip.errors import UserError
from structxlip.incremental.artifacts import MODELS, REPORTS
from structxlip.progress import say
from structxlip.tracking.connection import registry
from structxlip.tracking.lineage import ARMS, FILES, LINEAGE, Version, find_version

WEIGHTS = "model.safetensors"
# What a training reads. Where DVC's cache has it, it is checked out; else it is made again.
READ = ("settings", "ingest", "edges", "captions", "features", "edge_features")


def reproduce(named: str, folder: Path) -> None:
    """Train a version again in a new folder, and say whether weights and metrics are the same.

    The folder is a clone of the project at the commit of the version, with its ``params.yaml`` and
    ``dvc.lock``. Data comes from the project's DVC cache where it is there.

    Args:
        named: the version; see ``find_version``.
        folder: a folder that does not exist.

    Raises ``UserError`` for a version that no commit describes, and for other results.
    """
    client = registry()
    version = find_version(client, named)
    commit = version.found.tags.get("commit", "")
    if not commit or commit.endswith("-dirty"):
        raise UserError(
            f"{version} was registered from code that no commit holds; commit before registering, "
            f"then the version can be reproduced"
        )
    if folder.exists():
        raise UserError(f"{folder} exists; give a new folder", 2)
    _check_out(client, version, commit, folder)
    say(f"reproduce {named}: {folder} holds commit {commit[:10]}; both arms are trained again")
    _train(version.dataset, folder)
    _compare(client, version, folder)


def _check_out(client: Any, version: Version, commit: str, folder: Path) -> None:
    """Clone the project at a commit, with the parameters and the lock file of the version."""
    files = {Path(file.path).name for file in client.list_artifacts(version.found.run_id, LINEAGE)}
    if missing := set(FILES) - files:
        raise UserError(
            f"{version} was registered without {' and '.join(sorted(missing))}, as older versions "
            f"were, or without DVC; it cannot be reproduced"
        )
    _run("git", "clone", "--quiet", "--no-checkout", str(Path.cwd()), str(folder))
    _run("git", "checkout", "--quiet", commit, folder=folder)
    for name in FILES:
        with tempfile.TemporaryDirectory() as there:
            got = client.download_artifacts(version.found.run_id, f"{LINEAGE}/{name}", there)
            shutil.copyfile(got, folder / name)
    if not (folder / "structxlip").exists():  # a project of the installed package
        _run("structxlip", "init", ".", folder=folder)
    cache = _run("dvc", "cache", "dir").strip()
    _run("dvc", "cache", "dir", "--local", str(Path(cache).resolve()), folder=folder)


def _train(dataset: str, folder: Path) -> None:
    arms = [f"train@{dataset}-{arm}" for arm in ARMS]
    for stage in READ:
        _run("dvc", "checkout", f"{stage}@{dataset}", folder=folder, must=False)
    # `repro` makes what the cache had not; the trainings run in any case.
    with_ray = ("structxlip", "with-ray", "dvc", "repro")
    _run(*with_ray, *(f"{stage}@{dataset}" for stage in READ), folder=folder)
    _run(*with_ray, "--single-item", "--force", *arms, f"evaluate@{dataset}", folder=folder)


def _compare(client: Any, version: Version, folder: Path) -> None:
    """Say that weights and metrics are the same; ``UserError`` where they are not."""
    arm, run = version.found.tags["arm"], version.found.run_id
    with tempfile.TemporaryDirectory() as there:
        packaged = Path(client.download_artifacts(run, "model", there))
        (weights,) = packaged.glob(f"artifacts/*/{WEIGHTS}")
        same_weights = _digest(weights) == _digest(
            folder / MODELS / version.dataset / arm / WEIGHTS
        )
        logged = Path(client.download_artifacts(run, "report/comparison.json", there))
        before = _recalls(json.loads(logged.read_text()))
    after = _recalls(
        json.loads((folder / REPORTS / version.dataset / "comparison.json").read_text())
    )
    apart = max((abs(after.get(key, 1e9) - value) for key, value in before.items()), default=1e9)
    if apart:
        raise UserError(
            f"{version} is not reproduced: its metrics differ by up to {apart:.3g} points; another "
            f"processor or other versions of the packages round differently (the lock file of the "
            f"commit has the versions)"
        )
    weights_too = "and weights" if same_weights else "(the weights are not the same to the bit)"
    say(f"{version} is reproduced: the same metrics {weights_too}, {len(before)} numbers")


def _recalls(metrics: dict[str, Any]) -> dict[str, float]:
    """Every recall of every model, by a name."""
    return {
        f"{model}/{name}": float(value)
        for model, row in metrics.items()
        if isinstance(row, dict)
        for name, value in row.items()
        if "/R@" in name
    }


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _run(*command: str, folder: Path | None = None, must: bool = True) -> str:
    """Run a program with the code of ``folder``, and return its output.

    What is trained there is logged there. Raises ``UserError`` where it must not fail and does.
    """
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    own = {"PATH": programs} | ({"PYTHONPATH": str(folder.resolve())} if folder else {})
    shared = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        command, cwd=folder, env=shared | own, capture_output=True, text=True, check=False
    )
    if done.returncode and must:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise UserError(f"`{' '.join(command)}` failed in {folder or Path.cwd()}: {said[-1:]}")
    return done.stdout
