"""Deployments in force: of active datasets, paused where a person paused them, in one checkout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.operation import Project

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("operated")]


def deployments(project: Project) -> dict[str, dict[str, Any]]:
    return {found["name"]: found for found in project.api("deployments/filter", limit=50)}


def test_up_creates_schedules_of_active_datasets_and_leaves_paused_ones(operated: Project) -> None:
    operated.schedule("scenes", "0 3 * * 1")
    found = deployments(operated)
    assert {"train-eval", "retrain-scenes", "controls"} <= set(found)
    assert not {"retrain-medical", "retrain-fashion"} & set(found)
    assert found["train-eval"]["schedules"] == []
    (pool,) = {entry["work_pool_name"] for entry in found.values()}
    assert pool.startswith(f"{operated.folder.name}-")

    name, weekly = "structxlip/retrain-scenes", found["retrain-scenes"]
    (schedule,) = weekly["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"]) == ("0 3 * * 1", True)
    paused = operated.run("prefect", "deployment", "schedule", "pause", name, schedule["id"])
    assert paused.returncode == 0, paused.stderr
    assert operated.services("up").returncode == 0
    (schedule,) = deployments(operated)["retrain-scenes"]["schedules"]
    assert not schedule["active"], "a person paused it"
    operated.schedule("scenes", "0 4 * * 1")
    (schedule,) = deployments(operated)["retrain-scenes"]["schedules"]
    assert schedule["active"], "another schedule is another decision"


def test_a_second_checkout_does_not_run_in_the_first(operated: Project, tmp_path: Path) -> None:
    second = Project.create(tmp_path)
    started = {"start_time": {"is_null_": False}}  # the schedule plans runs all the time
    before = operated.api("flow_runs/count", flow_runs=started)
    refused = second.run("prefect", "deployment", "run", "structxlip/train-eval")
    assert refused.returncode == 1
    assert "No Prefect API URL provided" in refused.stdout + refused.stderr
    assert operated.api("flow_runs/count", flow_runs=started) == before
