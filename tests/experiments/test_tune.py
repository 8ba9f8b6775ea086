"""A search for settings: the same budget for both arms, resumed, and proposed as a diff."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from structxlip.config import Params, load_params
from structxlip.experiments import tune as module
from structxlip.experiments.tune import nested, search_space, tune, with_settings
from tests.operation import ROOT
from tests.store import Artifacts


def test_settings_are_those_of_a_recipe(params: Params) -> None:
    space = search_space(params.recipe_settings, "structxlip")
    assert set(search_space(params.recipe_settings, "vanilla")) < set(space)
    assert all(low < now < high for low, high, now in space.values())
    found = with_settings(params, {"train.learning_rate": 0.00123456, **dict.fromkeys(space, 0.5)})
    assert found.recipe_settings.train.learning_rate == 0.5
    assert found.recipe_settings.arms.structxlip.edge_text.weight == 0.5
    assert nested({"a.b": 0.00123456, "a.c.d": 2.0}) == {"a": {"b": 0.00123, "c": {"d": 2.0}}}


@pytest.mark.e2e
def test_a_search_goes_on_and_proposes_a_change(
    project: Artifacts, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    before = Path("params.yaml").read_text()
    tune(short, "scenes", 1, Path("params.yaml"))
    tried: list[int] = []
    kept = module._search

    def counted(*arguments: object) -> module.Found:
        found = kept(*arguments)  # type: ignore[arg-type]
        tried.append(len(found))
        return found

    monkeypatch.setattr(module, "_search", counted)
    tune(short, "scenes", 2, Path("params.yaml"))
    assert tried == [2, 2], "both arms have the same budget"
    found = json.loads(Path("reports/scenes/tune.json").read_text())
    space = search_space(short.recipe_settings, "vanilla")
    assert set(found["rows"]["vanilla"]["settings"]) == set(space)
    assert found["rows"]["structxlip"]["trials"] == 2
    assert Path("params.yaml").read_text() == before, "a proposal changes nothing"
    subprocess.run(["git", "apply", "reports/scenes/tune.diff"], check=True)
    entry = load_params(Path("params.yaml")).datasets["scenes"]
    assert {"train", "arms"} == set(entry.overrides)
    assert "# " in Path("params.yaml").read_text(), "comments stay"
