"""Parts of the queries hold every query once, in the order of the values."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.evaluation.slices import recall_by


@given(values=st.lists(st.integers(0, 9), min_size=1, max_size=40), parts=st.integers(1, 6))
def test_every_query_is_in_one_part(values: list[int], parts: int) -> None:
    rng = np.random.default_rng(0)
    ranks = {name: rng.integers(0, 3, len(values)) for name in ("a", "b")}
    found = recall_by(np.array(values), ranks, parts)
    assert 1 <= len(found) <= parts
    assert sum(part.queries for part in found) == len(values)
    for before, after in pairwise(found):
        assert before.low <= before.high < after.low
    for name, of in ranks.items():
        hits = sum(part.recall[name] * part.queries / 100 for part in found)
        assert hits == pytest.approx((of == 0).sum())


def test_parts_are_quarters_with_their_recalls() -> None:
    values = np.array([5, 1, 8, 2, 7, 3, 6, 4])
    ranks = {"m": np.where(values > 4, 0, 7)}
    found = recall_by(values, ranks)
    assert [(part.low, part.high, part.queries) for part in found] == [
        (1, 2, 2),
        (3, 4, 2),
        (5, 6, 2),
        (7, 8, 2),
    ]
    assert [part.recall["m"] for part in found] == [0, 0, 100, 100]
