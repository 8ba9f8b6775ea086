"""Champion and previous move together, by one at a time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from structxlip.errors import UserError
from structxlip.tracking.connection import connect
from structxlip.tracking.decisions import append_decision, read_decisions
from structxlip.tracking.promotion import CHAMPION, PREVIOUS, promote, roll_back, version_of

NAME = "structxlip-few"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """MLflow's client of a registry with three versions of a model."""
    monkeypatch.chdir(tmp_path)
    found = connect().MlflowClient()
    found.create_registered_model(NAME)
    for _ in range(3):
        found.create_model_version(NAME, (tmp_path / "package").as_uri())
    return found


def test_aliases_move_together_and_back(client: Any) -> None:
    def aliases() -> tuple[str | None, str | None]:
        return version_of(client, NAME, CHAMPION), version_of(client, NAME, PREVIOUS)

    assert version_of(client, "structxlip-other", CHAMPION) is None
    assert promote(client, NAME, "1", None)
    assert aliases() == ("1", None)
    with pytest.raises(UserError, match="structxlip-few has no previous champion to go back to"):
        roll_back(client, NAME)
    assert promote(client, NAME, "2", "1")
    assert aliases() == ("2", "1")
    assert not promote(client, NAME, "3", "1"), "it was compared with a champion of before"
    assert aliases() == ("2", "1")
    assert roll_back(client, NAME) == ("1", "2")
    assert aliases() == ("1", "2")
    assert promote(client, NAME, "1", "1"), "the champion may be promoted again"
    assert aliases() == ("1", "2")


def test_of_two_at_once_one_promotes(client: Any) -> None:
    assert promote(client, NAME, "1", None)
    start = Barrier(2)

    def challenge(version: str) -> bool:
        start.wait()
        return promote(client, NAME, version, "1")

    with ThreadPoolExecutor(2) as threads:
        promoted = dict(zip("23", threads.map(challenge, "23"), strict=True))
    (winner,) = [version for version, won in promoted.items() if won]
    assert version_of(client, NAME, CHAMPION) == winner
    assert version_of(client, NAME, PREVIOUS) == "1"


def test_decisions_are_kept_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_decisions("few") == []
    first = append_decision("few", version="1", verdict="promoted", recall=41.5, reason="first")
    append_decision("few", version="2", verdict="refused", gain=-0.5, reason="worse")
    (first.parent / ".half.parquet").write_bytes(b"of a process that was killed")
    found = read_decisions("few")
    assert [(row["version"], row["verdict"]) for row in found] == [
        ("1", "promoted"),
        ("2", "refused"),
    ]
    assert (found[0]["recall"], found[0]["gain"], found[1]["gain"]) == (41.5, None, -0.5)
    assert found[0]["at"] < found[1]["at"]
    with pytest.raises(ValueError, match="no columns of a decision: recal"):
        append_decision("few", version="3", recal=1.0)
