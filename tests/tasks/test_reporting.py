"""Progress in the UI follows the lines that stages write."""

from __future__ import annotations

import pytest
from httpx import ConnectError

from structxlip.progress import progress
from tasks import reporting


def test_a_server_that_is_away_stops_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def refuse(percent: float, **_: object) -> None:
        asked.append(percent)
        raise ConnectError("All connection attempts failed")

    monkeypatch.setattr(reporting, "create_progress_artifact", refuse)
    bar = reporting.ProgressArtifact("train@scenes-vanilla")
    for step in range(1, 4):
        bar.follow(f"train scenes: {step}/4 steps")
    assert asked == [25], "and it is not asked again at once"
    said = capsys.readouterr().err
    assert said.count("Prefect does not take its progress, and the work goes on") == 1
    monkeypatch.setattr(reporting, "RETRY_S", 0.0)
    bar = reporting.ProgressArtifact("train@scenes-vanilla")
    bar.follow("train scenes: 1/4 steps")
    bar.follow("train scenes: 2/4 steps")
    assert asked == [25, 25, 50]
    with reporting.if_the_server_answers("a table"):
        raise ConnectError("gone")


def test_the_bar_follows_the_lines_of_a_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr("structxlip.progress.LOG_INTERVAL_S", 0)
    monkeypatch.setattr(
        reporting, "create_progress_artifact", lambda percent, **_: shown.append(percent) or "id"
    )
    monkeypatch.setattr(
        reporting, "update_progress_artifact", lambda _, percent: shown.append(percent)
    )
    with progress("edges scenes", 4200, "pairs") as advance:
        advance(1200)
        advance(3000)
    bar = reporting.ProgressArtifact("edges@scenes")
    bar.follow("Running stage 'edges@scenes':")
    bar.finish()
    assert shown == []
    for line in capsys.readouterr().err.splitlines():
        bar.follow(line)
    bar.follow("(RayTrainWorker pid=5) train vanilla: 3/12 epochs, clip_loss 0.436, val R@1 14.6 %")
    assert [round(percent) for percent in shown] == [29, 100, 100, 25]
    bar.finish()
    assert shown[-1] == 100
