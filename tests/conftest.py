"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from structxlip.config import Params, load_params
from tests.operation import ROOT, TINY_DVC, TINY_STAGE, Project
from tests.store import Artifacts, write_artifacts


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
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Artifacts:
    """A small feature store and its edge maps."""
    return write_artifacts(tmp_path_factory.mktemp("artifacts"))


@pytest.fixture
def params() -> Params:
    """The shipped parameters, small: 2 batches of 12 pairs an epoch."""
    content = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    content["model"] |= {"embed_dim": 16, "hidden_dim": 16, "dropout": 0.0}
    content["train"] |= {"epochs": 4, "batch_size": 12, "warmup_epochs": 1}
    return Params.model_validate(content)
