"""Splits: given ones stay, missing ones are carved out of train, and groups stay together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.config import load_params
from structxlip.data.pairs import RawPair
from structxlip.data.sources import Source
from structxlip.stages.ingest import _split

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def pair(group: str, split: str | None) -> RawPair:
    return RawPair(group, bytes, ("a",), group, "test", split)


@pytest.mark.parametrize(
    ("given_splits", "expected"),
    [
        ({"train", "val", "test"}, {"train"}),
        ({"train", "test"}, {"train", "val"}),
        ({"train", "val"}, {"train", "test"}),
        ({"train"}, {"train", "val", "test"}),
        (set(), {"train", "val", "test"}),
    ],
)
def test_missing_splits_come_out_of_train(given_splits: set[str], expected: set[str]) -> None:
    source = Source(iter(()), 0, frozenset(given_splits))
    own = "train" if given_splits else None
    counts = Counter(_split(pair(f"g{i}", own), source, PARAMS) for i in range(2000))
    assert set(counts) == expected
    if "test" in expected:
        assert 140 < counts["test"] < 260
    if "val" in expected:
        assert 110 < counts["val"] < 210
    for split in given_splits - {"train"}:
        assert _split(pair("g", split), source, PARAMS) == split


@given(st.lists(st.text(max_size=8), max_size=30), st.text(max_size=8))
def test_nothing_moves_when_data_comes_or_goes(groups: list[str], more: str) -> None:
    """A split depends on the group alone, so that it is the same whatever stands beside it."""
    source = Source(iter(()), 0, frozenset())
    before = {group: _split(pair(group, None), source, PARAMS) for group in groups}
    after = {group: _split(pair(group, None), source, PARAMS) for group in [more, *groups]}
    assert before.items() <= after.items()
