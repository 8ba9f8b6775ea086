"""The Prefect server of the locked versions: its scheduler works, which some versions break."""

from __future__ import annotations

import pytest

from tests.operation import Project, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("operated")]


def test_the_schedule_of_a_deployment_makes_runs(operated: Project) -> None:
    operated.schedule("scenes", "0 3 * * 1")

    def scheduled() -> bool:
        runs = operated.api(
            "flow_runs/filter", flow_runs={"state": {"name": {"any_": ["Scheduled"]}}}
        )
        return any(run["auto_scheduled"] for run in runs)

    assert eventually(scheduled, timeout_s=120)  # the scheduler looks once a minute, or sooner
