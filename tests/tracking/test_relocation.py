"""A project that is copied or moved reads and writes its own files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from structxlip.tracking.connection import connect, experiment_id


def log(text: str) -> str:
    """Log a run with a file, and register it. Returns the version."""
    mlflow = connect()
    mlflow.set_experiment(experiment_id=experiment_id(mlflow, "scenes"))
    with mlflow.start_run() as run:
        mlflow.log_text(text, "model/weights")
        source = mlflow.get_artifact_uri("model")
    client = mlflow.MlflowClient()
    if not client.search_registered_models("name = 'm'"):
        client.create_registered_model("m")
    return str(client.create_model_version("m", source, run.info.run_id).version)


def read(version: str, folder: Path) -> str:
    mlflow = connect()
    uri = f"models:/m/{version}"
    return Path(
        mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)), "weights"
    ).read_text()


def files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_a_copy_and_a_moved_project_use_their_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, copy = tmp_path / "original", tmp_path / "a copy's home"
    original.mkdir()
    monkeypatch.chdir(original)
    first = log("one")
    before = files(original)
    shutil.copytree(original, copy)

    monkeypatch.chdir(copy)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    second = log("two")
    assert f"this project was in {original}" in capsys.readouterr().err
    assert files(original) == before
    assert len(files(copy)) > len(before)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    shutil.rmtree(original)
    assert [read(version, tmp_path / version) for version in (first, second)] == ["one", "two"]
    assert "this project was in" not in capsys.readouterr().err
