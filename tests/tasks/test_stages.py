"""Stages as tasks: whose they are and in which order, and what a failure says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.commands import INTERRUPTED, failed_state
from tasks.stages import out_of_date, stages_of
from tests.operation import TINY_DVC, TINY_STAGE, Project


def test_stages_of_a_dataset_come_from_dvc_in_the_order_in_which_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project.create(tmp_path)
    (tmp_path / "dvc.yaml").write_text(
        TINY_DVC + "  shared:\n    cmd: touch words\n    outs: [words]\n"
    )
    (tmp_path / "stage.py").write_text(TINY_STAGE)
    params = (tmp_path / "params.yaml").read_text()
    more = "datasets:\n  scenes_2: {kind: flickr, path: words}\n"
    (tmp_path / "params.yaml").write_text(params.replace("datasets:\n", more))
    monkeypatch.chdir(tmp_path)
    stages = {stage.name: stage.outs for stage in stages_of("scenes")}
    names = list(stages)
    assert names[0] == "ingest@scenes"
    assert set(names[1:3]) == {"train@scenes-vanilla", "train@scenes-structxlip"}
    assert names[3:] == ["evaluate@scenes"]
    assert stages["train@scenes-vanilla"] == ("models/scenes/vanilla",)
    assert stages["evaluate@scenes"] == (
        "reports/scenes/report.html",
        "reports/scenes/comparison.json",
        "reports/scenes/metrics.json",
        "reports/scenes/gain.svg",
    )
    assert len(stages_of("scenes_2")) == 4
    assert stages_of("nothing") == []
    assert out_of_date(stages_of("scenes"))
    assert project.run("dvc", "repro", "evaluate@scenes").returncode == 0
    (tmp_path / ".dvc/tmp/rwlock").write_text('{"write": {')  # DVC was killed while it wrote
    assert not out_of_date(stages_of("scenes"))
    assert out_of_date(stages_of("scenes_2"))


FAILED = "ERROR: failed to reproduce 'train@scenes-vanilla': failed to run: structxlip train, "


@pytest.mark.parametrize(
    ("output", "name", "message"),
    [
        (
            ["reading", "structxlip: seed: must be a number", FAILED + "exited with 2"],
            "Failed",
            "seed: must be a number",
        ),
        (
            ["Traceback", "ValueError: boom", FAILED + "exited with 1"],
            "Failed",
            FAILED.removeprefix("ERROR: ") + "exited with 1",
        ),
        ([FAILED + "exited with -9"], INTERRUPTED, FAILED[7:] + "exited with -9"),
        ([FAILED + "exited with 137"], INTERRUPTED, FAILED[7:] + "exited with 137"),
        (["Killed"], "Failed", "Killed"),
        ([], "Failed", "it failed without a word"),
    ],
)
def test_a_failure_says_what_the_stage_said(output: list[str], name: str, message: str) -> None:
    state = failed_state(output)
    assert state.is_failed()
    assert (state.name, state.message) == (name, message)


@pytest.mark.parametrize(
    ("exit_code", "name"), [(1, "Failed"), (-9, INTERRUPTED), (137, INTERRUPTED)]
)
def test_a_command_that_was_killed_is_interrupted(exit_code: int, name: str) -> None:
    assert failed_state(["structxlip: half done"], exit_code).name == name
