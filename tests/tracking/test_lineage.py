"""A version tells where it comes from, and what cannot be reproduced is refused before any work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from structxlip.errors import UserError
from structxlip.tracking.connection import connect, experiment_id
from structxlip.tracking.lineage import find_version, log_lineage, print_lineage
from structxlip.tracking.reproduction import reproduce
from tests.trees import write

LOCK = """
schema: '2.0'
stages:
  ingest@scenes: {outs: [{path: data/scenes/pairs, md5: aa.dir}]}
  train@scenes-vanilla: {outs: [{path: models/scenes/vanilla, md5: bb.dir}]}
  ingest@shoes: {outs: [{path: data/shoes/pairs, md5: cc.dir}]}
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registry with two versions of which the first is the champion."""
    monkeypatch.chdir(tmp_path)
    described = json.dumps({"training": "vanilla-abc"})
    write(
        tmp_path,
        {
            "params.yaml": "seed: 0\n",
            "dvc.lock": LOCK,
            "models/scenes/vanilla/preprocess.json": described,
        },
    )
    mlflow = connect()
    client = mlflow.MlflowClient()
    experiment = experiment_id(mlflow, "scenes")
    training = client.create_run(experiment, tags={"training": "vanilla-abc"}).info.run_id
    client.set_terminated(training, "FINISHED")
    mlflow.set_experiment(experiment_id=experiment)
    with mlflow.start_run() as run:
        tags = log_lineage(mlflow, "scenes")
        mlflow.log_text("", "model/MLmodel")
    assert tags["train_vanilla"] == training
    assert "train_structxlip" not in tags
    assert run.info.run_id != training
    client.create_registered_model("structxlip-scenes")
    tags |= {"arm": "vanilla", "commit": "1a2b-dirty", "verdict": "promoted", "reason": "it is"}
    for _ in range(2):
        source = f"{run.info.artifact_uri}/model"
        client.create_model_version("structxlip-scenes", source, run.info.run_id, tags=tags)
    client.set_registered_model_alias("structxlip-scenes", "champion", "1")
    return client


def test_a_version_is_named_by_alias_or_number(client: Any) -> None:
    for named in ("scenes", "scenes@champion", "structxlip-scenes@1", "structxlip-scenes"):
        assert str(find_version(client, named)) == "structxlip-scenes version 1 (champion)"
    assert str(find_version(client, "scenes@2")) == "structxlip-scenes version 2"
    for wrong in ("scenes@3", "scenes@previous"):
        with pytest.raises(UserError, match=f"no structxlip-{wrong}; versions: .*; aliases: champ"):
            find_version(client, wrong)
    with pytest.raises(UserError, match="no structxlip-shoes@champion; versions: none"):
        find_version(client, "shoes")


def test_the_way_of_a_version_is_printed(client: Any, capsys: pytest.CaptureFixture[str]) -> None:
    training = find_version(client, "scenes").found.tags["train_vanilla"]
    print_lineage("scenes@champion")
    told = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert told["version"] == "structxlip-scenes version 1 (champion)"
    assert told["gate"] == "promoted: it is"
    assert told["commit"] == "1a2b-dirty"
    assert told["data/scenes/pairs"] == "aa.dir"
    assert told["models/scenes/vanilla"] == "bb.dir"
    assert "data/shoes/pairs" not in told
    assert told["train"].split() == ["vanilla", "MLflow", "run", training]


def test_what_no_commit_holds_is_not_reproduced(client: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="registered from code that no commit holds"):
        reproduce("scenes@champion", tmp_path / "again")
    client.set_model_version_tag("structxlip-scenes", "1", "commit", "1a2b")
    with pytest.raises(UserError, match="exists; give a new folder"):
        reproduce("scenes@champion", tmp_path)
    with pytest.raises(UserError, match="`git clone "):
        reproduce("scenes@champion", tmp_path / "again")
    assert not (tmp_path / "again").exists()
