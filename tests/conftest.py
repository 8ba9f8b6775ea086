"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operation import TINY_DVC, TINY_STAGE, Project


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
