"""The MLflow runs of an experiment: one parent, and below it one run for each row of its table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.tracking.connection import connect, experiment_id, logged_params, metric_names


def log_experiment(
    name: str,
    dataset: str,
    params: Params,
    rows: Mapping[str, dict[str, Any]],
    *,
    verdict: str,
    files: list[Path],
) -> str:
    """Log a finished experiment, and return the id of its parent run.

    Args:
        name: of the experiment, such as `compare`.
        dataset: its runs go to the MLflow experiment ``structxlip-<dataset>``.
        params: of the project.
        rows: the numbers of each row; nested keys are joined by dots, lists and None left out.
        verdict: becomes the description of the parent.
        files: the tables and pictures.
    """
    mlflow = connect()
    mlflow.set_experiment(experiment_id=experiment_id(mlflow, dataset))
    with mlflow.start_run(run_name=name, description=verdict) as parent:
        mlflow.log_params(logged_params(params, dataset))
        for file in files:
            mlflow.log_artifact(str(file), name)
        for row, numbers in rows.items():
            with mlflow.start_run(run_name=row, nested=True):
                mlflow.log_metrics(metric_names(_numbers(numbers)))
    run_id: str = parent.info.run_id
    return run_id


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    found = {k: _numbers(v) if isinstance(v, dict) else v for k, v in values.items()}
    return {k: v for k, v in found.items() if isinstance(v, dict | int | float)}
