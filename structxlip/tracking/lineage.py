"""Where a model version comes from: code, data, parameters, trainings, and the gate's decision."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from structxlip.config import Arm
from structxlip.errors import UserError
from structxlip.incremental.artifacts import MODELS
from structxlip.tracking.connection import experiment_id, registry
from structxlip.tracking.promotion import CHAMPION

LINEAGE = "lineage"  # a folder of the artifacts of the run that registered a version
FILES = ("params.yaml", "dvc.lock")  # as they were then
ARMS: tuple[Arm, ...] = ("vanilla", "structxlip")


@dataclass(frozen=True)
class Version:
    """A version of a registered model: the entry of the registry, and the aliases that it has."""

    found: Any
    aliases: tuple[str, ...]

    @property
    def dataset(self) -> str:
        """The dataset that it was trained on."""
        return str(self.found.name).removeprefix("structxlip-")

    def __str__(self) -> str:
        aliases = f" ({', '.join(self.aliases)})" if self.aliases else ""
        return f"{self.found.name} version {self.found.version}{aliases}"


def find_version(client: Any, named: str) -> Version:
    """A version by ``NAME@ALIAS`` or ``NAME@NUMBER``; without ``@`` it is the champion.

    NAME is that of the registered model, or of its dataset. Raises ``UserError`` when there is
    none.
    """
    name, _, which = named.partition("@")
    if not name.startswith("structxlip-"):
        name = f"structxlip-{name}"
    which = which or CHAMPION
    models = client.search_registered_models(f"name = '{name}'")
    aliases = {
        alias: str(number) for alias, number in (models[0].aliases if models else {}).items()
    }
    versions = {str(v.version): v for v in client.search_model_versions(f"name = '{name}'")}
    number = which if which.isdigit() else aliases.get(which, "")
    if number not in versions:
        raise UserError(
            f"the registry has no {name}@{which}; versions: {', '.join(versions) or 'none'}; "
            f"aliases: {', '.join(aliases) or 'none'}"
        )
    return Version(versions[number], tuple(a for a, its in aliases.items() if its == number))


def log_lineage(mlflow: Any, dataset: str) -> dict[str, str]:
    """Log the parameters and DVC's lock file, as they are now, to the active run.

    Returns tags for the version: the digest of ``dvc.lock``, and the training of each arm.
    """
    for file in filter(Path.is_file, map(Path, FILES)):
        mlflow.log_artifact(str(file), LINEAGE)
    tags = {}
    if (lock := Path("dvc.lock")).is_file():
        tags["dvc_lock"] = hashlib.file_digest(lock.open("rb"), "md5").hexdigest()
    client, experiment = mlflow.MlflowClient(), experiment_id(mlflow, dataset)
    for arm in ARMS:
        if run := training_run(client, experiment, dataset, arm):
            tags[f"train_{arm}"] = run.info.run_id
    return tags


def training_run(client: Any, experiment: str, dataset: str, arm: str) -> Any:
    """The MLflow run in which an arm was trained; None where this store has none."""
    described = MODELS / dataset / arm / "preprocess.json"
    if not described.is_file():
        return None
    wanted = f"tags.training = '{json.loads(described.read_text()).get('training')}'"
    found = client.search_runs([experiment], wanted, max_results=1)
    return found[0] if found else None


def print_lineage(named: str) -> None:
    """Print the way from a version to its code, data, parameters, trainings and decision."""
    client = registry()
    version = find_version(client, named)
    rows = [("version", str(version)), *_way(client, version)]
    width = max(len(key) for key, _ in rows)
    sys.stdout.writelines(f"{key:<{width}}  {value}\n" for key, value in rows)


def _way(client: Any, version: Version) -> Iterator[tuple[str, str]]:
    found, tags = version.found, version.found.tags
    made = datetime.fromtimestamp(found.creation_timestamp / 1000, UTC)
    yield "registered", f"{made:%Y-%m-%d %H:%M} UTC, arm {tags.get('arm', '?')}"
    yield "gate", f"{tags.get('verdict', 'no decision')}: {tags.get('reason', '')}".rstrip(": ")
    yield "commit", tags.get("commit") or "none: the project was in no git repository"
    yield "parameters", f"{LINEAGE}/params.yaml of the run, digest {tags.get('params', '?')}"
    yield "package", tags.get("package", "?")
    seen = tags.get("images_seen", "?")
    yield "pairs", f"{tags.get('pairs', '?')}, {seen} images to train and validate on"
    yield "dvc.lock", tags.get("dvc_lock", "none: the stages did not run under DVC")
    for path, digest in locked_outputs(client, version):
        yield f"  {path}", digest
    for arm in ARMS:
        if run := tags.get(f"train_{arm}"):
            yield f"train {arm}", f"MLflow run {run}"
    yield "run", f"{found.run_id} in MLflow"


def locked_outputs(client: Any, version: Version) -> list[tuple[str, str]]:
    """Path and digest of every output of the dataset, as ``dvc.lock`` had them at registration."""
    run = version.found.run_id
    if "dvc.lock" not in {Path(file.path).name for file in client.list_artifacts(run, LINEAGE)}:
        return []
    return outputs_of(Path(client.download_artifacts(run, f"{LINEAGE}/dvc.lock")), version.dataset)


def outputs_of(lock: Path, dataset: str) -> list[tuple[str, str]]:
    """Path and digest of the outputs of a dataset's stages in a ``dvc.lock``."""
    stages = YAML(typ="safe").load(lock.read_text())["stages"]
    return [
        (out["path"], out["md5"])
        for name, stage in stages.items()
        if name.partition("@")[2].removesuffix("-vanilla").removesuffix("-structxlip") == dataset
        for out in stage.get("outs", [])
    ]
