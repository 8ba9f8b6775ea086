"""The page of a dataset needs its artifacts, as they are now."""

from __future__ import annotations

from pathlib import Path

import pytest

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.reports.dataset_page import inspect


def test_artifacts_that_are_missing_or_old_are_made_first(
    params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/scenes/pairs").mkdir(parents=True)
    with pytest.raises(UserError, match=r"run `dvc repro edges@scenes captions@scenes` first"):
        inspect(params, "scenes")
