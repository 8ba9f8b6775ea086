"""Splits: given ones stay, missing ones are cut from train, and groups stay together."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.splits import SplitRule, hash_position


def rule_of(given_splits: set[str]) -> SplitRule:
    return SplitRule(frozenset(given_splits), val_fraction=0.08, test_fraction=0.1)


def split_of(group: str, split: str | None, given_splits: set[str]) -> str:
    return rule_of(given_splits)(split, group)


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


def test_positions_are_those_of_the_published_splits() -> None:
    assert hash_position("patient-1") == 0.5995470250079492
    assert hash_position("patient-2") == 0.8329098199423145


@given(st.lists(st.text(max_size=8), max_size=30), st.text(max_size=8))
def test_nothing_moves_when_data_comes_or_goes(groups: list[str], more: str) -> None:
    """A split depends on the group alone, whatever stands beside it."""
    before = {group: split_of(group, None, set()) for group in groups}
    after = {group: split_of(group, None, set()) for group in [more, *groups]}
    assert before.items() <= after.items()


@given(
    groups=st.sets(st.text(max_size=4), min_size=1, max_size=12),
    given_splits=st.sampled_from([set(), {"train"}, {"train", "test"}, {"train", "val"}]),
)
def test_a_split_that_the_hash_leaves_empty_gets_the_nearest_group(
    groups: set[str], given_splits: set[str]
) -> None:
    own = "train" if given_splits else None
    plain = {group: rule_of(given_splits)(own, group) for group in groups}
    rule = rule_of(given_splits).fill((own, group) for group in groups)
    filled = {group: rule(own, group) for group in groups}

    empty = [split for split in ("test", "val") if split not in {*given_splits, *plain.values()}]
    train = [group for group, split in plain.items() if split == "train"]
    train.sort(key=hash_position)
    expected = plain | dict(zip(train[:-1], empty, strict=False))
    assert filled == expected
    if len(train) > len(empty):
        assert {"train", "val", "test"} - given_splits <= {"train", *filled.values()}


def test_many_groups_are_left_to_the_hash() -> None:
    plain, groups = rule_of(set()), [f"g{i}" for i in range(500)]
    rule = plain.fill((None, group) for group in groups)
    assert rule.filled == {}
