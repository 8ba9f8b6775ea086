"""The connection to MLflow, and how parameters and metrics are named there."""

from __future__ import annotations

import logging
import os
import tempfile
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.tracking.relocation import follow_move
from structxlip.tracking.trial import project_folder

WAITS_S = (1.0, 4.0, 10.0)  # before an MLflow that does not answer is asked again
# What MLflow's loggers say below these levels concerns nobody.
LOGGERS = {
    "alembic": logging.WARNING,
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,  # the errors that it raises
    "mlflow.utils.git_utils": logging.ERROR,  # that there is no git
}
# Of an experiment. The first tag tells MLflow's pages that models are trained, no prompts tried.
EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.note.content": "Trainings, registered versions and experiments of StructXLIP.",
}


def connect() -> Any:
    """MLflow, connected to MLFLOW_TRACKING_URI or else to ``mlflow.db`` in the project; see
    ``project_folder``."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # 7 take minutes
    import mlflow

    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)
    warnings.filterwarnings("ignore", module="mlflow")
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        database = project_folder() / "mlflow.db"
        if not database.exists():
            _create(mlflow, database)
        elif former := follow_move(database):
            say(f"this project was in {former}; MLflow's records name its files here now")
        uri = f"sqlite:///{database}"
    mlflow.set_tracking_uri(uri)
    return mlflow


def registry() -> Any:
    """MLflow's client, of a server that answers; a server that is away is asked again a few times.

    Raises ``UserError`` when it does not answer.
    """
    mlflow = connect()
    client = mlflow.MlflowClient()
    for wait_s in (*WAITS_S, None):
        try:
            client.search_registered_models(max_results=1)
        except mlflow.exceptions.MlflowException as error:
            if wait_s is None:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                raise UserError(
                    f"MLflow does not answer at {mlflow.get_tracking_uri()}; start it, or set "
                    f"MLFLOW_TRACKING_URI to another one, then run this again ({first[:200]})"
                ) from None
            time.sleep(wait_s)
        else:
            break
    return client


def _create(mlflow: Any, database: Path) -> None:
    """Let MLflow make its database, which is complete or absent.

    MLflow makes it in many steps and never mends a part of one, such as a full disk leaves.
    """
    with tempfile.TemporaryDirectory(prefix=".mlflow-", dir=database.parent) as folder:
        file = Path(folder, database.name)
        mlflow.MlflowClient(f"sqlite:///{file}").search_experiments(max_results=1)
        with suppress(FileExistsError):  # another process was quicker
            os.link(file, database)


def experiment_id(mlflow: Any, dataset: str) -> str:
    """The experiment of a dataset; it is created when there is none."""
    name = f"structxlip-{dataset}"
    experiment = mlflow.get_experiment_by_name(name)
    if experiment is None:
        local = not os.environ.get("MLFLOW_TRACKING_URI")
        place = (project_folder() / "mlruns" / name).as_uri() if local else None
        return str(mlflow.create_experiment(name, place, EXPERIMENT_TAGS))
    for key in EXPERIMENT_TAGS.keys() - experiment.tags.keys():  # of an earlier release
        mlflow.MlflowClient().set_experiment_tag(
            experiment.experiment_id, key, EXPERIMENT_TAGS[key]
        )
    return str(experiment.experiment_id)


def logged_params(params: Params, dataset: str) -> dict[str, Any]:
    """The parameters that a run of a dataset logs: of the selected recipe and of the dataset."""
    shared = params.model_dump(by_alias=True, exclude={"datasets", "presets", "recipes"})
    of_data = {"dataset": params.datasets[dataset].model_dump()}
    return flatten(shared | params.recipe_settings.model_dump() | of_data)


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping with the paths of its values as keys, joined by dots."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def metric_names(metrics: dict[str, Any]) -> dict[str, float]:
    """Metrics under names that MLflow allows: ``@`` becomes ``_at_``. Tables are left out."""
    numbers = {key: v for key, v in flatten(metrics).items() if not isinstance(v, list)}
    return {key.replace("@", "_at_"): float(value) for key, value in numbers.items()}
