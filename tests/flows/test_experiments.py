"""The flows of experiments: the command runs as a task, and its table is published."""

from __future__ import annotations

import subprocess

import pytest
from ruamel.yaml import YAML

from structxlip.config import Params
from tests.features.test_views import write_pairs
from tests.operation import Project
from tests.store import write_artifacts

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("operated")]


def run_compare(project: Project, dataset: str) -> subprocess.CompletedProcess[str]:
    code = f"""
from flows.experiments import compare
state = compare({dataset!r}, seeds=1, return_state=True)
print(state.name, state.message)
"""
    return project.run("python", "-c", code)


def test_the_table_of_a_comparison_is_published(operated: Project, params: Params) -> None:
    content = params.model_dump(by_alias=True, mode="json")
    content["recipes"][params.recipe]["train"] |= {"epochs": 1, "warmup_epochs": 0}
    before = (operated.folder / "params.yaml").read_text()
    data = operated.folder / "data/scenes"
    data.mkdir(parents=True, exist_ok=True)
    store = write_artifacts(data, params.recipe_settings.model).store
    write_pairs(data / "tiny/pairs", store.ids.tolist())
    pairs = data / "pairs"
    kept = pairs.rename(data / "kept") if pairs.exists() else None
    (data / "tiny/pairs").rename(pairs)
    try:
        with (operated.folder / "params.yaml").open("w") as file:
            YAML().dump(content, file)
        done = run_compare(operated, "scenes")
        refused = run_compare(operated, "nothing")
    finally:
        (operated.folder / "params.yaml").write_text(before)
        pairs.rename(data / "tiny/pairs")
        if kept is not None:
            kept.rename(pairs)
    assert "Completed" in done.stdout, done.stdout + done.stderr
    table = (operated.folder / "reports/scenes/compare.md").read_text()
    assert "Failed dataset 'nothing' is not active" in refused.stdout, refused.stderr
    runs = operated.api("flow_runs/filter", flows={"name": {"any_": ["compare"]}})
    flow_run = {"id": {"any_": [run["id"] for run in runs if run["state_name"] == "Completed"]}}
    artifacts = {a["key"]: a for a in operated.api("artifacts/filter", flow_runs=flow_run)}
    assert artifacts["compare-scenes"]["data"] == table
