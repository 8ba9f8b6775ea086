"""What nobody needs any more: versions, runs, objects of DVC's cache, checkpoints, cached rows."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structxlip.config import Params
from structxlip.incremental.artifacts import MODELS
from structxlip.progress import say
from structxlip.tracking.decisions import read_decisions
from structxlip.tracking.lineage import FOLDER, git

DVC_CACHE = Path(".dvc/cache/files/md5")
CACHE = Path(".cache")
BY_DATASET = ("index", "rows/*")  # folders of .cache with a folder for each dataset
DIGEST = re.compile(r"\bmd5: ([0-9a-f]{32}(?:\.dir)?)\b")
OURS = "package"  # a tag of the versions that `structxlip register` makes
DAY_S = 24 * 3600


@dataclass(frozen=True)
class Waste:
    """Something that may go.

    Attributes:
        kind: such as `version`.
        name: what it is, for people.
        size: in bytes.
        remove: removes it.
    """

    kind: str
    name: str
    size: int
    remove: Callable[[], None]


@dataclass(frozen=True)
class Kept:
    """What is needed.

    Attributes:
        versions: names of models, and numbers.
        runs: of these versions, and of their trainings.
        locks: the texts of their `dvc.lock`.
        untraced: versions of older releases, which do not say what they were made of.
    """

    versions: set[tuple[str, str]]
    runs: set[str]
    locks: list[str]
    untraced: list[str]


def needed(client: Any, datasets: Iterable[str], decisions: int) -> Kept:
    """The versions with an alias, those of the last decisions about each dataset, and their runs.

    Every alias counts, also one that a person has set, and so does a version that a person made.
    """
    kept = Kept(set(), set(), [], [])
    for dataset in datasets:
        name = f"structxlip-{dataset}"
        rows = read_decisions(dataset)[-decisions:] if decisions else []
        named = {str(row[key]) for row in rows for key in ("version", "champion")}
        for model in client.search_registered_models(f"name = '{name}'"):
            named |= {str(number) for number in model.aliases.values()}
        for version in client.search_model_versions(f"name = '{name}'"):
            ours = OURS in version.tags
            if ours and str(version.version) not in named:
                continue
            trainings = {run for tag, run in version.tags.items() if tag.startswith("training/")}
            kept.versions.add((name, str(version.version)))
            kept.runs.update({version.run_id, *trainings})
            lock = _lock(client, version.run_id)
            kept.locks.append(lock or "")
            if ours and lock is None:
                kept.untraced.append(f"{name} {version.version}")
    return kept


def find_waste(client: Any, params: Params, decisions: int, days: float) -> list[Waste]:
    """Everything that the pipeline made, that nothing needs, and that is older than ``days``.

    A run or version that a person made or marked with an alias stays, and so does every file that a
    branch, a tag or the working tree names.
    """
    before = time.time() - days * DAY_S
    kept = needed(client, params.datasets, decisions)
    found = [*_versions(client, params.datasets, kept, before), *_folders(params, before)]
    if kept.untraced:
        say(
            f"trainings and DVC's cache stay as they are: {', '.join(kept.untraced)} may need "
            f"them, and an older release did not write down what it was made of"
        )
        return found
    trainings = _trainings_left(client, params.datasets, kept, before)
    return [*found, *trainings, *_objects(kept, before)]


def _versions(client: Any, datasets: Iterable[str], kept: Kept, before: float) -> Iterator[Waste]:
    """Versions, with the run that registered them."""
    for dataset in datasets:
        name = f"structxlip-{dataset}"
        for version in client.search_model_versions(f"name = '{name}'"):
            number, run = str(version.version), version.run_id
            if version.creation_timestamp / 1000 >= before or (name, number) in kept.versions:
                continue

            def remove(name: str = name, number: str = number, run: str = run) -> None:
                client.delete_model_version(name, number)
                _delete_run(client, run)

            yield Waste("version", f"{name} {number}", _run_size(client, run), remove)


def _trainings_left(
    client: Any, datasets: Iterable[str], kept: Kept, before: float
) -> Iterator[Waste]:
    """Runs of trainings that ended, whose model is in no version and not in ``models/``."""
    for dataset in datasets:
        experiment = client.get_experiment_by_name(f"structxlip-{dataset}")
        files = (MODELS / dataset).glob("*/preprocess.json")
        present = {json.loads(file.read_text()).get("training") for file in files}
        for run in _all_runs(client, experiment.experiment_id) if experiment else ():
            info, training = run.info, run.data.tags.get("training")
            ended = info.end_time and info.end_time / 1000 < before
            if not training or not ended or info.run_id in kept.runs or training in present:
                continue

            def remove(run_id: str = info.run_id) -> None:
                _delete_run(client, run_id)

            yield Waste("training", f"run {info.run_id}", _run_size(client, info.run_id), remove)


def _all_runs(client: Any, experiment: str) -> Iterator[Any]:
    token: str | None = ""
    while token is not None:
        page = client.search_runs([experiment], page_token=token or None)
        yield from page
        token = page.token


def _objects(kept: Kept, before: float) -> Iterator[Waste]:
    """Objects of DVC's cache that nothing names."""
    wanted = set()
    for text in (*kept.locks, *_tracked_texts()):
        wanted |= set(DIGEST.findall(text))
    for folder in [digest for digest in wanted if digest.endswith(".dir")]:
        file = DVC_CACHE / folder[:2] / folder[2:]
        if file.exists():
            wanted |= {entry["md5"] for entry in json.loads(file.read_text())}
    for file in sorted(DVC_CACHE.glob("[0-9a-f][0-9a-f]/*")):
        status = file.stat()
        digest = file.parent.name + file.name
        if digest not in wanted and status.st_mtime < before:
            yield Waste("DVC cache", digest, status.st_size, file.unlink)


def _tracked_texts() -> Iterator[str]:
    """The `dvc.lock` of the working tree and of all branches, tags and experiments; and all that a
    person ever put under DVC with `dvc add`."""
    yield from (path.read_text() for path in [*Path().glob("*.lock"), *Path().rglob("*.dvc")]
                if path.is_file())  # fmt: skip
    for ref in git("for-each-ref", "--format=%(refname)").decode().split():
        yield git("show", f"{ref}:./dvc.lock").decode()
    for line in git("rev-list", "--all", "--objects", "--", "*.dvc").decode().splitlines():
        blob, _, path = line.partition(" ")
        if path.endswith(".dvc"):
            yield git("cat-file", "blob", blob).decode()


def _folders(params: Params, before: float) -> Iterator[Waste]:
    """Checkpoints of runs that will not go on, and cached rows of datasets that are not active."""
    storage = Path(params.machine.storage)
    local = "://" not in params.machine.storage
    found = [("checkpoints", path) for path in storage.glob("*") if local]
    for pattern in BY_DATASET:
        found += [
            ("cached rows", path)
            for path in CACHE.glob(f"{pattern}/*")
            if path.name not in params.datasets
        ]
    for kind, path in found:
        files = [path, *path.rglob("*")]
        if path.is_dir() and max(file.stat().st_mtime for file in files) < before:
            yield Waste(kind, str(path), folder_size(path), lambda path=path: shutil.rmtree(path))  # type: ignore[misc]


def folder_size(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _lock(client: Any, run_id: str) -> str | None:
    """The `dvc.lock` of a version; None where it has none."""
    if f"{FOLDER}/dvc.lock" not in {file.path for file in client.list_artifacts(run_id, FOLDER)}:
        return None
    with tempfile.TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, f"{FOLDER}/dvc.lock", folder)).read_text()


def _run_size(client: Any, run_id: str) -> int:
    def walk(path: str | None = None) -> int:
        found = client.list_artifacts(run_id, path)
        return sum(walk(file.path) if file.is_dir else file.file_size or 0 for file in found)

    return walk()


def _delete_run(client: Any, run_id: str) -> None:
    """Delete a run, and its files where they are on this machine; `mlflow gc` of a server removes
    those of the server."""
    files = Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))
    client.delete_run(run_id)
    if files.is_absolute():
        shutil.rmtree(files.parent, ignore_errors=True)
