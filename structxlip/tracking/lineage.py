"""Lineage: what a model version was made of, kept with its run in MLflow, and read back."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass, field
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA, MODELS

FOLDER = "lineage"  # of the artifacts of the run of a version
ORIGIN, CHANGES = "origin.json", "changes.patch"
COPIED = ("params.yaml", "dvc.yaml", "dvc.lock")
CODE = "structxlip/"  # what the commit says already
ARMS = ("vanilla", "structxlip")
NAME = re.compile(r"(?:structxlip-)?(?P<dataset>[^@/]+)(?:@(?P<alias>[^/]+)|/(?P<number>\d+))?")


@dataclass(frozen=True)
class Origin:
    """What a version was made of.

    Attributes:
        commit: of the project; empty outside of git.
        changed: whether files differed from the commit. ``changes.patch`` has what did.
        untracked: files that git did not know, and that no patch has.
        release: of the package.
        digests: by path, those of `dvc.lock`: of all artifacts of the dataset, and of what they
            are made from.
        trainings: by arm, the MLflow run of its training.
    """

    commit: str
    changed: bool
    untracked: list[str]
    release: str
    digests: dict[str, str]
    trainings: dict[str, str] = field(default_factory=dict)


def find_version(client: Any, name: str) -> Any:
    """The version that ``DATASET@ALIAS`` or ``DATASET/NUMBER`` names; a dataset alone is its
    champion. Raises ``UserError`` when there is none."""
    found = NAME.fullmatch(name)
    if found is None:
        raise UserError(f"{name} names no version; write DATASET@champion, or DATASET/3", 2)
    model, number = f"structxlip-{found['dataset']}", found["number"]
    if number is None:
        models = client.search_registered_models(f"name = '{model}'")
        number = models[0].aliases.get(found["alias"] or "champion") if models else None
    versions = client.search_model_versions(f"name = '{model}'")
    chosen = [version for version in versions if str(version.version) == str(number)]
    if not chosen:
        raise UserError(
            f"there is no version {name} in MLflow; `structxlip history {found['dataset']}` "
            f"lists the decisions"
        )
    return chosen[0]


def record(client: Any, experiment: str, run_id: str, dataset: str, pairs: str) -> dict[str, str]:
    """Log what a version is made of to its run, and tie the trainings of both arms to that.

    Args:
        client: of MLflow.
        experiment: the id of the experiment of the dataset.
        run_id: the run of the version.
        dataset: its name.
        pairs: a digest of what was trained on.

    Returns tags for the version.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    trainings = find_trainings(client, experiment, dataset)
    with tempfile.TemporaryDirectory() as name:
        origin = describe(Path(name), dataset, trainings)
        client.log_artifacts(run_id, name, FOLDER)
    store = DATA / dataset / "pairs"
    digest = origin.digests.get(store.as_posix(), pairs)
    data = Dataset(dataset, digest[:36], "dvc", json.dumps({"path": store.as_posix()}))
    for run in trainings.values():
        client.log_inputs(run, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])])
        client.set_tag(run, "mlflow.parentRunId", run_id)
    tags = {f"dvc/{path}": digest for path, digest in origin.digests.items()}
    return tags | {f"training/{arm}": run for arm, run in trainings.items()}


def find_trainings(client: Any, experiment: str, dataset: str) -> dict[str, str]:
    """By arm, the newest finished run of the training that made ``models/<dataset>/<arm>``."""
    found = {}
    for arm in ARMS:
        file = MODELS / dataset / arm / "preprocess.json"
        key = json.loads(file.read_text()).get("training") if file.exists() else None
        wanted = f"tags.training = '{key}' and attributes.status = 'FINISHED'"
        newest = ["attributes.start_time DESC"]
        if runs := client.search_runs([experiment], wanted, max_results=1, order_by=newest):
            found[arm] = runs[0].info.run_id
    return found


def describe(folder: Path, dataset: str, trainings: dict[str, str]) -> Origin:
    """Write the origin of the artifacts of a dataset into a folder: files that they follow, and
    what differs from the commit."""
    for file in filter(Path.exists, map(Path, COPIED)):
        shutil.copyfile(file, folder / file.name)
    changes = git("diff", "--binary", "HEAD")
    if changes:
        (folder / CHANGES).write_bytes(changes)
    origin = Origin(
        commit=git("rev-parse", "HEAD").decode().strip(),
        changed=bool(changes),
        untracked=git("ls-files", "--others", "--exclude-standard").decode().splitlines(),
        release=installed_version("structxlip"),
        digests=locked(Path("dvc.lock"), dataset),
        trainings=trainings,
    )
    (folder / ORIGIN).write_text(json.dumps(asdict(origin), indent=2) + "\n")
    return origin


def read_origin(client: Any, version: Any, folder: Path) -> tuple[Origin, Path]:
    """The origin of a version, and the folder of its files below ``folder``."""
    if FOLDER not in {file.path for file in client.list_artifacts(version.run_id)}:
        raise UserError(
            f"version {version.version} of {version.name} was registered by an older release, "
            f"which kept no lineage"
        )
    files = Path(client.download_artifacts(version.run_id, FOLDER, str(folder)))
    return Origin(**json.loads((files / ORIGIN).read_text())), files


def locked(lock: Path, dataset: str) -> dict[str, str]:
    """By path, the digests in a `dvc.lock` of what the stages of a dataset read and wrote, without
    the code."""
    if not lock.exists():
        return {}
    stages = YAML(typ="safe").load(lock.read_text(encoding="utf-8")).get("stages", {})
    found = {}
    for name, stage in stages.items():
        item = name.partition("@")[2]
        if item != dataset and not item.startswith(f"{dataset}-"):
            continue
        for entry in [*stage.get("deps", []), *stage.get("outs", [])]:
            if not entry["path"].startswith(CODE) and "md5" in entry:
                found[entry["path"]] = entry["md5"]
    return dict(sorted(found.items()))


def git(*command: str) -> bytes:
    """What git answers in this folder; nothing outside of a repository, or without git."""
    try:
        done = subprocess.run(["git", *command], capture_output=True, check=False)
    except OSError:
        return b""
    return b"" if done.returncode else done.stdout
