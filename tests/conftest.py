"""Fixtures of all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

# Tensors here are tiny, and threads that wait for each other slow where other work runs beside.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Ray gives its workers a low priority. The tests beside them would take all of the processor.
os.environ.setdefault("RAY_worker_niceness", "0")

import pytest
from filelock import FileLock
from hypothesis import settings

from structxlip.config import Params, load_params
from tests.clips import IMAGE_PX, write_tiny_clip
from tests.cluster import RayCluster, ray_cluster
from tests.operation import ROOT, TINY_DVC, TINY_STAGE, Project
from tests.pipeline import run_pipeline
from tests.store import Artifacts, write_artifacts

settings.register_profile("any machine", deadline=None)  # no test depends on time
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow tests first, and last of them those that need what a group before them makes.

    Where processes share the tests, those of a file stay together.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("e2e") is None:
        return 2
    group = item.get_closest_marker("xdist_group")
    return int(group is not None and group.args[0].startswith("after the pipeline"))


@pytest.fixture(autouse=True)
def own_tracking_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow keeps the store that it was connected to in the environment, for all that follow."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # so that it is as before after the test
    monkeypatch.delenv("MLFLOW_TRACKING_URI")


@pytest.fixture(scope="session")
def tiny_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project under Prefect, with scripts as stages; whatever it started ends after the tests."""
    project = Project.create(tmp_path_factory.mktemp("operated"))
    (project.folder / "dvc.yaml").write_text(TINY_DVC)
    (project.folder / "stage.py").write_text(TINY_STAGE)
    yield project
    assert project.services("down").returncode == 0


@pytest.fixture
def operated(tiny_project: Project) -> Project:
    """The tiny project, up: its server and worker serve many tests."""
    if not tiny_project.processes():
        done = tiny_project.services("up")
        assert done.returncode == 0, done.stderr
    return tiny_project


@pytest.fixture(scope="session")
def cluster() -> Iterator[RayCluster]:
    """Two Ray nodes that ask for a token."""
    with ray_cluster() as found:
        yield found


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Project:
    """A small project in which the whole pipeline has run on the cluster.

    The pipeline runs once. Each process of pytest-xdist has a copy of its own.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "pipeline.lock"):
        if not (shared / "pipeline.done").exists():
            (shared / "pipeline").mkdir()
            run_pipeline(shared / "pipeline", request.getfixturevalue("cluster"))
            (shared / "pipeline.done").touch()
    copy = tmp_path_factory.mktemp("project")
    shutil.copytree(shared / "pipeline", copy, symlinks=True, dirs_exist_ok=True)
    return Project(copy)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """A small feature store of frozen towers, and its edge maps."""
    model = load_params(ROOT / "params.yaml").recipes["frozen"].model
    return write_artifacts(tmp_path_factory.mktemp("artifacts"), model)


@pytest.fixture
def params() -> Params:
    """The recipe `frozen`, small: 2 batches of 12 pairs an epoch."""
    return small("frozen", {"embed_dim": 16, "hidden_dim": 16, "dropout": 0.0})


@pytest.fixture(scope="session")
def paper_params(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """The recipe `paper`, small: a random CLIP of 32 px, trained whole."""
    clip = write_tiny_clip(tmp_path_factory.mktemp("clip"))
    model = {"image_tower": clip, "text_tower": clip, "image_px": IMAGE_PX, "max_tokens": None}
    return small("paper", model)


@pytest.fixture(scope="session")
def raw_artifacts(tmp_path_factory: pytest.TempPathFactory, paper_params: Params) -> Artifacts:
    """A small feature store of pixels and tokens, and its edge maps."""
    return write_artifacts(tmp_path_factory.mktemp("raw"), paper_params.recipe_settings.model)


# A branch that is trained from nothing on binary maps: it reads the artifacts as they are.
CNN = {
    "edge_branch": "cnn",
    "edge_text": 0.5,
    "region_chunk": 0.1,
    "edge_image": 0.05,
    "edge_shift_px": 4,
}


def small(recipe: str, model: dict[str, Any]) -> Params:
    content = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    followed = content["recipes"][recipe]
    followed["model"] |= model
    followed["train"] |= {"epochs": 4, "batch_size": 12, "warmup_epochs": 1, "precision": "fp32"}
    followed["train"] |= {"learning_rate": 1e-3}
    if recipe == "frozen":
        followed["arms"]["structxlip"] = CNN
        followed["edges"] |= {"cue": "canny", "size_px": 128, "tower_grid": None}
    if recipe == "paper":
        followed["train"]["region_px"] = IMAGE_PX // 2
    return Params.model_validate(content | {"recipe": recipe})
