"""From a version back to what it was made of, and to the same numbers in a new folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from structxlip.errors import UserError
from structxlip.tracking.commands import print_lineage
from structxlip.tracking.connection import connect, experiment_id
from structxlip.tracking.lineage import find_version, read_origin, record
from structxlip.tracking.promotion import CHAMPION
from structxlip.tracking.reproduction import compare, reproduce
from tests.operation import TINY_DVC, TINY_STAGE, Project

NAME = "structxlip-scenes"


def register(dataset: str) -> Any:
    """A version of a dataset in MLflow with its lineage, as `structxlip register` makes it."""
    mlflow = connect()
    client, experiment = mlflow.MlflowClient(), experiment_id(mlflow, dataset)
    for arm in ("vanilla", "structxlip"):
        for status in ("FAILED", "FINISHED"):
            run = client.create_run(experiment, tags={"training": f"{arm}-1"})
            client.set_terminated(run.info.run_id, status)
        file = Path("models", dataset, arm, "preprocess.json")
        file.write_text(json.dumps({"training": f"{arm}-1"}))
    run = client.create_run(experiment)
    for key, value in {"recipe": "frozen", "seed": 0}.items():
        client.log_param(run.info.run_id, key, value)
    client.log_artifact(run.info.run_id, f"reports/{dataset}/comparison.json", "report")
    tags = {"arm": "vanilla", "package": "0123", "params": "4567"}
    tags |= record(client, experiment, run.info.run_id, dataset, "89ab")
    client.create_registered_model(NAME)
    client.create_model_version(NAME, Path("models").resolve().as_uri(), run.info.run_id, tags=tags)
    client.set_registered_model_alias(NAME, CHAMPION, "1")
    return client


@pytest.mark.e2e
def test_a_version_is_traced_and_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that was made with changes that nobody had committed."""
    (tmp_path / "made").mkdir()
    project = Project.create(tmp_path / "made")
    monkeypatch.chdir(project.folder)
    Path("dvc.yaml").write_text(TINY_DVC)
    Path("stage.py").write_text(TINY_STAGE)
    Path("structxlip").mkdir()
    Path("structxlip/__init__.py").touch()
    project.commit()
    Path("stage.py").write_text(TINY_STAGE.replace("10.0 for", "11.0 for"))
    assert project.run("dvc", "repro").returncode == 0
    client = register("scenes")

    version = find_version(client, "scenes@champion")
    origin, files = read_origin(client, version, tmp_path)
    assert origin.changed
    assert "11.0 for" in (files / "changes.patch").read_text()
    assert set(origin.digests) >= {
        *("data/scenes/pairs", "models/scenes/vanilla", "models/scenes/structxlip", "stage.py"),
        *(f"reports/scenes/{n}" for n in ("comparison.json", "metrics.json", "report.html")),
    }
    assert version.tags["dvc/data/scenes/pairs"] == origin.digests["data/scenes/pairs"]
    for arm, run_id in origin.trainings.items():
        run = client.get_run(run_id)
        assert (run.info.status, run.data.tags["training"]) == ("FINISHED", f"{arm}-1")
        assert run.data.tags["mlflow.parentRunId"] == version.run_id
        (data,) = run.inputs.dataset_inputs
        assert data.dataset.digest == origin.digests["data/scenes/pairs"]

    print_lineage("structxlip-scenes@champion")
    told = capsys.readouterr().out
    assert f"commit    {origin.commit}, with changes" in told
    assert f"{origin.digests['data/scenes/pairs']}  data/scenes/pairs\n" in told
    assert f"run {origin.trainings['vanilla']}  vanilla\n" in told

    Path("stage.py").write_text("raise SystemExit('the project went on')")
    reproduce("scenes/1", tmp_path / "again")
    told = capsys.readouterr().err
    assert "are equal to the bit" in told
    assert (tmp_path / "again/models/scenes/vanilla/part-00000").exists()
    with pytest.raises(UserError, match="again is not empty; give a new folder"):
        reproduce("scenes@champion", tmp_path / "again")
    for unknown in ("scenes@best", "scenes/2", "scnes"):
        with pytest.raises(UserError, match=f"there is no version {unknown} in MLflow"):
            find_version(client, unknown)


def test_numbers_that_differ_are_told() -> None:
    expected = {"R@1": {"mean": 40.0, "low": 38.0}, "arm": "vanilla"}
    assert compare(expected, expected) == "all 2 numbers of comparison.json are equal to the bit"
    found = {"R@1": {"mean": 40.5, "low": 38.0}}
    with pytest.raises(UserError, match=r"1 of 2 numbers .* most of all R@1.mean by 0.5"):
        compare(expected, found)
    with pytest.raises(UserError, match=r"most of all R@1.mean by nan"):
        compare(expected, {"R@1": {"low": 38.0}})
