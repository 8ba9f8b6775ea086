"""The champion of a dataset, fetched from MLflow into a folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from structxlip.incremental.artifacts import DATA, MODELS
from structxlip.tracking.connection import connect, registry
from structxlip.tracking.promotion import CHAMPION, version_of
from structxlip.tracking.split import Seen, read_seen

SEEN = "seen.json.gz"  # an artifact of the run of a version


def champion_version(dataset: str) -> str | None:
    """The version that is champion now; None where there is none, or no store of MLflow yet."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not Path("mlflow.db").exists():
        return None
    return version_of(registry(), f"structxlip-{dataset}", CHAMPION)


def fetch(name: str, version: str, folder: Path) -> tuple[Path, Seen]:
    """Fetch a version of a registered model into a folder.

    Returns its package, and what it was trained on; older versions do not say it.
    """
    mlflow = connect()
    client: Any = mlflow.MlflowClient()
    found = client.get_model_version(name, version)
    package = mlflow.artifacts.download_artifacts(
        artifact_uri=f"models:/{name}/{version}", dst_path=str(folder / "package")
    )
    if SEEN in {file.path for file in client.list_artifacts(found.run_id)}:
        client.download_artifacts(found.run_id, SEEN, str(folder))
    return Path(package), Seen.read(folder / SEEN)


def trained_on(dataset: str) -> Seen:
    """What the models of a dataset were trained and validated on, with what their start saw."""
    return read_seen(DATA / dataset / "pairs") | Seen.read(MODELS / dataset / "start" / SEEN)
