"""Load a model by its name: from the registry, from a folder, from any URI of MLflow."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from structxlip.errors import UserError
from structxlip.serving.embedder import Embedder


def load(model: str | Path, alpha: float | None = None) -> Embedder:
    """Load a trained model with its encoders.

    Args:
        model: ``NAME@ALIAS`` of a registered model, such as ``structxlip-scenes@champion``; any URI
            of MLflow, such as ``models:/NAME/3`` or ``runs:/ID/model``; or a folder: one that the
            stage `train` wrote, ``models/D/ARM``, or a model that MLflow has downloaded.
        alpha: weight of the edge branch. None: the one that the evaluation chose, which a
            registered model carries, and which ``reports/D`` beside ``models/D`` has; 0 for a
            folder without either.

    MLflow is asked at ``MLFLOW_TRACKING_URI``, or else in the ``mlflow.db`` of this folder or of
    one above it.

    Raises ``UserError`` for a model that is not there.
    """
    folder, known = find_model(model)
    return Embedder(folder, known if alpha is None else alpha)


def find_model(model: str | Path) -> tuple[Path, float]:
    """The folder of a model on this machine, and its alpha; see ``load``."""
    folder = Path(model)
    if not folder.is_dir():
        name = str(model)
        if "@" not in name and ":" not in name:
            raise UserError(
                f"{name} is no folder of a model; give models/DATASET/ARM, NAME@ALIAS of a "
                f"registered model, or a URI of MLflow"
            )
        folder = _download(name if ":" in name else f"models:/{name}")
    if (folder / "MLmodel").is_file():
        return _logged(folder)
    return folder, _evaluated(folder)


def champion_version(dataset: str) -> str | None:
    """The version of ``structxlip-<dataset>`` that is champion now; None where there is no MLflow,
    or none is. Raises ``UserError`` for an MLflow that does not answer."""
    store = _store()
    if store is None:
        return None
    mlflow = _mlflow()
    try:
        client = mlflow.MlflowClient(store, store)
        return str(client.get_model_version_by_alias(f"structxlip-{dataset}", "champion").version)
    except mlflow.exceptions.MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise UserError(f"MLflow at {store} does not answer: {error}") from None


def _download(uri: str) -> Path:
    """The folder of a model in MLflow, on this machine."""
    asked, store = uri, _store()
    if store is None:
        raise UserError(
            f"{uri} needs MLflow, and there is no mlflow.db in this folder or above it; set "
            f"MLFLOW_TRACKING_URI to the server, or to sqlite:////PROJECT/mlflow.db"
        )
    mlflow = _mlflow()
    try:
        # For the URI of a registered model MLflow would ask the registry of the whole process.
        if named := re.fullmatch(r"models:/([^/@]+)(?:@([^/]+)|/(\d+))", uri):
            client = mlflow.MlflowClient(store, store)
            name, alias, version = named.groups()
            if alias:
                version = client.get_model_version_by_alias(name, alias).version
            uri = client.get_model_version_download_uri(name, version)
        return Path(mlflow.artifacts.download_artifacts(uri, tracking_uri=store))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise UserError(f"{asked} cannot be loaded from {store}: {error}") from None


def _mlflow() -> Any:
    """MLflow, quiet, and not asking a server that is away for minutes."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    import mlflow

    return mlflow


def _store() -> str | None:
    """Where MLflow is asked; None where there is none."""
    if store := os.environ.get("MLFLOW_TRACKING_URI"):
        return store
    here = Path.cwd()
    found = (folder / "mlflow.db" for folder in (here, *here.parents))
    return next((f"sqlite:///{file}" for file in found if file.is_file()), None)


def _logged(folder: Path) -> tuple[Path, float]:
    """The model in a folder of MLflow, and the alpha that it was registered with."""
    flavours: dict[str, Any] = yaml.safe_load((folder / "MLmodel").read_text())["flavors"]
    try:
        artifacts = flavours["python_function"]["artifacts"]
        settings = json.loads((folder / artifacts["settings"]["path"]).read_text())
        return folder / artifacts["model"]["path"], float(settings["alpha"])
    except (KeyError, TypeError):
        raise UserError(f"{folder} holds no model that StructXLIP registered") from None


def _evaluated(folder: Path) -> float:
    """The alpha that the evaluation chose for ``models/D/ARM``; 0 without an evaluation."""
    folder = folder.resolve()
    arm, dataset = folder.name, folder.parent.name
    metrics = folder.parents[2] / "reports" / dataset / "comparison.json"
    if arm == "vanilla" or folder.parents[1].name != "models" or not metrics.is_file():
        return 0.0
    return float(json.loads(metrics.read_text())["alpha"])
