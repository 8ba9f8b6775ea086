"""A domain retrains itself: on its schedule, only when needed, and never on shuffled captions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.domain import add_pairs, set_up
from tests.operation import Project, eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("retraining")]


@pytest.fixture
def domain(tmp_path: Path) -> Iterator[Project]:
    """A project of the domain, with a server and a worker of its own."""
    project = Project.create(tmp_path)
    set_up(project)
    try:
        up = project.services("up")
        assert up.returncode == 0, up.stderr
        yield project
    finally:
        assert project.services("down").returncode == 0


def run(project: Project) -> dict[str, Any]:
    """The state of a run on demand."""
    project.run_deployment("--param", "dataset=few")
    return dict(project.last_run()["state"])


def history(project: Project) -> list[str]:
    done = project.run("structxlip", "history", "few")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_domain_retrains_itself(domain: Project) -> None:
    domain.schedule("few", "* * * * *")

    def scheduled() -> list[dict[str, Any]]:
        ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
        runs = domain.api("flow_runs/filter", flow_runs=ended)
        return [one for one in runs if one["auto_scheduled"] and one["parameters"] == FEW]

    assert eventually(lambda: bool(scheduled()), timeout_s=240)
    domain.schedule("few", "0 0 1 1 *")
    first = min(scheduled(), key=lambda one: one["created"])["state"]
    assert "promoted, it is the champion now (the first version" in first["message"], first

    again = run(domain)
    assert again["name"] == "Nothing new"
    assert again["message"].endswith("nothing new: this package was decided on before")

    add_pairs(domain, 360, 720)
    better = run(domain)
    assert "version 2 is vanilla, promoted" in better["message"], better
    checked = json.loads((domain.folder / "reports/few/data_check.json").read_text())
    assert {found["name"]: found["passed"] for found in checked}["mismatched"]
    start = json.loads((domain.folder / "models/few/start/start.json").read_text())
    assert start == {"version": None}

    add_pairs(domain, 720, 1000, shuffled=0.3)
    stopped = run(domain)
    assert stopped["type"] == "FAILED"
    assert "of the new captions do not belong to their images" in stopped["message"], stopped
    assert [line.split()[3].rstrip(",") for line in history(domain)] == ["promoted", "promoted"]
    assert (domain.folder / "models/few/package/vanilla").is_dir(), "the former package is there"


FEW = {"dataset": "few"}
