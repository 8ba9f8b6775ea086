"""The MLflow run of a training: step by step, once, and never in the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from structxlip.config import Params, Train
from structxlip.tracking import training_log
from structxlip.tracking.connection import connect
from structxlip.tracking.training_log import TrainingLog

TRAIN = Train(epochs="auto").fitted(401)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return tmp_path


def runs() -> dict[str, tuple[str, list[int], list[float]]]:
    """The status, the steps and the losses of each training."""
    client = connect().MlflowClient()
    experiment = client.get_experiment_by_name("structxlip-scenes")
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id]):
        history = client.get_metric_history(run.info.run_id, "loss")
        steps, losses = [m.step for m in history], [m.value for m in history]
        found[run.data.tags["training"]] = (run.info.status, steps, losses)
    return found


@pytest.mark.e2e
def test_a_training_goes_on_in_its_run_and_none_is_without_a_step(
    store: Path, params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = TrainingLog("scenes", params, "vanilla", "a", TRAIN)
    log(10, {"loss": 3.0})
    log(20, {"loss": 2.0})  # and then it is killed
    again = TrainingLog("scenes", params, "vanilla", "a", TRAIN)
    again(20, {"loss": 2.0})
    again(30, {"loss": 1.0})
    again.close("FINISHED")
    TrainingLog("scenes", params, "vanilla", "nothing left to train", TRAIN).close("FINISHED")
    assert runs() == {"a": ("FINISHED", [10, 20, 30], [3.0, 2.0, 1.0])}

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(training_log, "RETRY_S", 0.0)
    monkeypatch.setenv("DVC_EXP_NAME", "zinc-yeti")  # as in a trial of `dvc exp run`
    away = TrainingLog("scenes", params, "structxlip", "b", TRAIN)
    away(10, {"loss": 5.0})
    assert "MLflow does not take the metrics of the training, which goes on" in (
        capsys.readouterr().err
    )
    monkeypatch.delenv("MLFLOW_TRACKING_URI")  # there it is again
    away(20, {"loss": 4.0})
    away.close("FAILED")
    assert runs()["b"] == ("FAILED", [10, 20], [5.0, 4.0])
    found = connect().MlflowClient().search_runs(["1"], "tags.trial = 'zinc-yeti'")
    assert [run.info.run_name for run in found] == ["train structxlip (zinc-yeti)"]
