"""What nothing needs is found and removed; what a person made stays."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from structxlip.config import Params
from structxlip.tracking.commands import clean
from structxlip.tracking.connection import connect, experiment_id
from structxlip.tracking.decisions import append_decision
from structxlip.tracking.housekeeping import DVC_CACHE, find_waste

NAME = "structxlip-scenes"


def cached(letter: str, content: str = "x", suffix: str = "") -> str:
    """An object in DVC's cache. Returns its digest."""
    digest = letter * 32
    file = DVC_CACHE / digest[:2] / f"{digest[2:]}{suffix}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)
    return digest + suffix


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Six versions: 2 is champion, a person gave 4 an alias, and made 5."""
    monkeypatch.chdir(tmp_path)
    mlflow = connect()
    found, experiment = mlflow.MlflowClient(), experiment_id(mlflow, "scenes")
    found.create_registered_model(NAME)
    for number in range(1, 7):
        training = found.create_run(experiment, tags={"training": f"vanilla-{number}"})
        run = found.create_run(experiment)
        for each in (training, run):
            found.log_text(each.info.run_id, f"md5: {number:032d}", "lineage/dvc.lock")
            found.set_terminated(each.info.run_id)
        tags = {"training/vanilla": training.info.run_id}
        if number != 5:
            tags["package"] = "of the pipeline"
        found.create_model_version(NAME, tmp_path.as_uri(), run.info.run_id, tags=tags)
    found.set_registered_model_alias(NAME, "champion", "2")
    found.set_registered_model_alias(NAME, "mine", "4")
    append_decision("scenes", version="1", verdict="promoted")
    append_decision("scenes", version="6", verdict="refused", champion="2")
    return found


def test_only_what_nothing_needs_goes(client: Any, params: Params, tmp_path: Path) -> None:
    for number in range(1, 7):
        cached_file = DVC_CACHE / "00" / f"{number:030d}"
        cached_file.parent.mkdir(parents=True, exist_ok=True)
        cached_file.write_text("data")
    inside, folder = cached("a"), cached("b", json.dumps([{"md5": "a" * 32}]), ".dir")
    Path("added.dvc").write_text(f"outs:\n- md5: {folder}\n  path: added\n")
    committed, unknown = cached("c"), cached("d", "x" * 100)
    subprocess.run(["git", "init", "-q"], check=True)
    Path("photo.dvc").write_text(f"outs:\n- md5: {committed}\n  path: photo\n")
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", "add", "photo.dvc"], check=True)
    subprocess.run(["git", *author, "commit", "-qm", "photo"], check=True)
    Path("photo.dvc").unlink()
    for path in ("train/vanilla-1/step.pt", "rows/edges/gone/x.parquet", "rows/edges/scenes/x"):
        Path(".cache", path).parent.mkdir(parents=True)
        Path(".cache", path).write_text("rows")
    mine = client.create_run(client.get_experiment_by_name(NAME).experiment_id)
    client.set_terminated(mine.info.run_id)

    assert find_waste(client, params, 1, days=1) == [], "all of it is from today"
    found = find_waste(client, params, 1, days=0)
    assert {(waste.kind, waste.name) for waste in found if waste.kind != "training"} == {
        *(("version", f"{NAME} {number}") for number in (1, 3)),
        *(("DVC cache", digest) for digest in (f"{1:032d}", f"{3:032d}", unknown)),
        ("checkpoints", ".cache/train/vanilla-1"),
        ("cached rows", ".cache/rows/edges/gone"),
    }
    assert sum(waste.kind == "training" for waste in found) == 2
    assert next(waste.size for waste in found if waste.name == unknown) == 100
    of_old = client.get_model_version(NAME, "3").run_id
    files = Path(client.get_run(of_old).info.artifact_uri.removeprefix("file://"))
    assert files.is_dir()

    clean(params, 1, 0, remove=False)
    assert len(find_waste(client, params, 1, days=0)) == len(found), "it is only told"
    clean(params, 1, 0, remove=True)
    assert find_waste(client, params, 1, days=0) == []
    assert not files.exists()
    versions = client.search_model_versions(f"name = '{NAME}'")
    assert {int(version.version) for version in versions} == {2, 4, 5, 6}
    assert client.get_run(mine.info.run_id).info.lifecycle_stage == "active"
    for digest in (inside, folder, committed):
        assert (DVC_CACHE / digest[:2] / digest[2:]).exists()


def test_a_version_that_does_not_say_what_it_needs_keeps_everything(
    client: Any, params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = cached("d")
    os.utime(DVC_CACHE / unknown[:2] / unknown[2:], (0, 0))
    run = client.create_run(client.get_experiment_by_name(NAME).experiment_id)
    version = client.create_model_version(
        NAME, Path.cwd().as_uri(), run.info.run_id, tags={"package": "0"}
    )
    client.set_registered_model_alias(NAME, "champion", version.version)
    found = find_waste(client, params, 0, days=0)
    assert {waste.kind for waste in found} == {"version"}
    assert "trainings and DVC's cache stay as they are: structxlip-scenes 7" in (
        capsys.readouterr().err
    )
