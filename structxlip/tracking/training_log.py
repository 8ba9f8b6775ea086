"""The MLflow run of a training, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from structxlip.config import Arm, FittedTrain, Params
from structxlip.progress import say
from structxlip.tracking.connection import (
    connect,
    experiment_id,
    flatten,
    logged_params,
    metric_names,
)
from structxlip.tracking.trial import trial_name

RETRY_S = 60.0


class TrainingLog:
    """The MLflow run of a training. No failure of MLflow stops the training.

    A training that goes on after a kill, known by its ``key``, goes on in its run; steps that the
    run has are left out. The run opens at the first step. Metrics that MLflow does not take are
    kept and sent again, at most every ``RETRY_S`` seconds.
    """

    def __init__(
        self, dataset: str, params: Params, arm: Arm, key: str, train: FittedTrain
    ) -> None:
        self.dataset, self.arm, self.key = dataset, arm, key
        self.params = logged_params(params, dataset) | flatten({"train": train.model_dump()})
        self.run_id: str | None = None
        self.client: Any = None
        self.last, self.retry_at = 0, 0.0
        self.waiting: list[tuple[int, int, dict[str, float]]] = []

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self.waiting.append((step, int(time.time() * 1000), metrics))
        if time.monotonic() >= self.retry_at:
            self._guarded(self._send)

    def close(self, status: str) -> None:
        """Send the metrics that wait, and set how the training ended."""

        def end() -> None:
            self._send()
            self.client.set_terminated(self.run_id, status)

        if self.waiting or self.run_id:
            self._guarded(end)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # from MLflow, its store, or the network
            if not self.retry_at:
                why = (str(error).splitlines() or [type(error).__name__])[0]  # SQL would follow
                say(f"MLflow does not take the metrics of the training, which goes on: {why}")
            self.retry_at = time.monotonic() + RETRY_S

    def _send(self) -> None:
        if self.run_id is None:
            self._open()
        from mlflow.entities import Metric

        while self.waiting:
            step, at, metrics = self.waiting[0]
            if step > self.last:
                named = metric_names(metrics | {"step": step})
                entries = [Metric(name, value, at, step) for name, value in named.items()]
                self.client.log_batch(self.run_id, metrics=entries)
                self.last = step
            self.waiting.pop(0)

    def _open(self) -> None:
        mlflow = connect()
        self.client = mlflow.MlflowClient()
        experiment = experiment_id(mlflow, self.dataset)
        wanted = f"tags.training = '{self.key}' and attributes.status != 'FINISHED'"
        if found := self.client.search_runs([experiment], wanted, max_results=1):
            run = found[0]
            self.client.update_run(run.info.run_id, "RUNNING")
        else:
            tags = {"mlflow.runName": f"train {self.arm}", "training": self.key}
            if trial := trial_name():
                tags |= {"mlflow.runName": f"train {self.arm} ({trial})", "trial": trial}
            run = self.client.create_run(experiment, tags=tags)
            for name, value in self.params.items():
                self.client.log_param(run.info.run_id, name, value)
        self.last = int(run.data.metrics.get("step", 0))
        self.run_id = run.info.run_id
