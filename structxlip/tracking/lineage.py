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
from structxlip.incremental.artifacts import DATA, MODELS
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


def log_lineage(mlflow: Any, dataset: str, pairs: str) -> dict[str, str]:
    """Log to the active run what a version comes from.

    Args:
        mlflow: connected, with an active run.
        dataset: its name.
        pairs: the digest of the training and validation pairs.

    Returns the tags of the version: the digest of ``dvc.lock``, and the training of each arm.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": str((DATA / dataset / "pairs").resolve())})
    used = Dataset(name=dataset, digest=pairs, source_type="local", source=source)
    context = [InputTag("mlflow.data.context", "training")]
    client, run_id = mlflow.MlflowClient(), mlflow.active_run().info.run_id
    client.log_inputs(run_id, [DatasetInput(used, context)])
    for file in filter(Path.is_file, map(Path, FILES)):
        mlflow.log_artifact(str(file), LINEAGE)
    tags = {}
    if (lock := Path("dvc.lock")).is_file():
        tags["dvc_lock"] = hashlib.file_digest(lock.open("rb"), "md5").hexdigest()
    experiment = experiment_id(mlflow, dataset)
    for arm in ARMS:
        if run := _training_run(client, experiment, MODELS / dataset / arm):
            tags[f"train_{arm}"] = run
    return tags


def _training_run(client: Any, experiment: str, model: Path) -> str | None:
    """The MLflow run in which a model was trained; None for one that was trained elsewhere."""
    described = model / "preprocess.json"
    training = json.loads(described.read_text()).get("training") if described.is_file() else None
    if training is None:
        return None
    wanted = f"tags.training = '{training}' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment], wanted, max_results=1)
    return str(found[0].info.run_id) if found else None


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
