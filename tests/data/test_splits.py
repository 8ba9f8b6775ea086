"""Splits: given ones stay, missing ones are cut from train, and groups stay together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.splits import assign_split


def split_of(group: str, split: str | None, given_splits: set[str]) -> str:
    return assign_split(
        split,
        group,
        given=frozenset(given_splits),
        val_fraction=0.08,
        test_fraction=0.1,
        seed=0,
    )


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
    own = "train" if given_splits else None
    counts = Counter(split_of(f"g{i}", own, given_splits) for i in range(2000))
    assert set(counts) == expected
    if "test" in expected:
        assert 140 < counts["test"] < 260
    if "val" in expected:
        assert 110 < counts["val"] < 210
    for split in given_splits - {"train"}:
        assert split_of("g", split, given_splits) == split


@given(st.lists(st.text(max_size=8), max_size=30), st.text(max_size=8))
def test_nothing_moves_when_data_comes_or_goes(groups: list[str], more: str) -> None:
    """A split depends on the group alone, whatever stands beside it."""
    before = {group: split_of(group, None, set()) for group in groups}
    after = {group: split_of(group, None, set()) for group in [more, *groups]}
    assert before.items() <= after.items()
