"""What a search prints."""

from __future__ import annotations

import json

import pytest

from structxlip.serving.answers import print_hits
from structxlip.serving.image_index import Hit

HITS = [
    Hit(0.61, "p1", "test", ["A very long caption [of] a red boat. " * 20]),
    Hit(0.5, "p2", "val", []),
]


@pytest.mark.parametrize("columns", ["60", "300"])
def test_a_table_has_a_line_for_each_answer(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_hits(HITS, as_json=False)
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["rank", "score", "id", "split", "caption"]
    assert first.split()[:6] == ["1", "0.610", "p1", "test", "A", "very"]
    assert "[of]" in first
    assert second.split() == ["2", "0.500", "p2", "val"]


def test_json_holds_everything(capsys: pytest.CaptureFixture[str]) -> None:
    print_hits(HITS, as_json=True)
    first, _ = json.loads(capsys.readouterr().out)
    assert first == {
        "rank": 1,
        "score": 0.61,
        "id": "p1",
        "split": "test",
        "captions": HITS[0].captions,
    }
