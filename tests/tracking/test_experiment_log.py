"""An experiment in MLflow: a parent with the tables, and a child for each row."""

from __future__ import annotations

from pathlib import Path

import pytest

from structxlip.config import Params
from structxlip.tracking.connection import connect
from structxlip.tracking.experiment_log import log_experiment


@pytest.mark.e2e
def test_rows_are_children_of_one_run(
    tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    table = tmp_path / "compare.md"
    table.write_text("| model |")
    rows = {
        "vanilla": {"R@1": {"mean": 20.0, "deviation": None}, "alpha": [0.1, 0.3]},
        "structxlip": {"R@1": {"mean": 22.5, "deviation": 0.5}},
    }
    run_id = log_experiment("compare", "scenes", params, rows, verdict="it gains", files=[table])
    client = connect().MlflowClient()
    parent = client.get_run(run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == "it gains"
    assert parent.data.params["dataset.kind"] == "scenes"
    assert [file.path for file in client.list_artifacts(run_id, "compare")] == [
        "compare/compare.md"
    ]
    children = client.search_runs(
        [parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{run_id}'"
    )
    found = {run.info.run_name: run.data.metrics for run in children}
    assert found == {
        "vanilla": {"R_at_1.mean": 20.0},
        "structxlip": {"R_at_1.mean": 22.5, "R_at_1.deviation": 0.5},
    }
