"""A project folder in which experiments run in seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from structxlip.config import Params
from tests.features.test_views import write_pairs
from tests.store import Artifacts, write_artifacts
from tests.training.test_loop import change


@pytest.fixture
def project(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> Artifacts:
    """A project folder with the artifacts of the dataset `scenes`; it is the working folder."""
    data = tmp_path / "data/scenes"
    data.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    found = write_artifacts(data, params.recipe_settings.model)
    write_pairs(data / "pairs", found.store.ids.tolist())
    return found


@pytest.fixture
def short(params: Params) -> Params:
    """One epoch of two steps."""
    return change(params, epochs=1, warmup_epochs=0, batch_size=12)
