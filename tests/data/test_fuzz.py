"""Damaged trees of every source: no error but `UserError`, and no pair is lost in silence."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BENCHMARKS = str(Path(__file__).parents[2] / "benchmarks")
if BENCHMARKS not in sys.path:
    sys.path.append(BENCHMARKS)  # the benchmark that runs 2,000 trees a source, and its trees

from fuzz_sources import Example, Outcome, examples, outcome  # noqa: E402
from fuzz_trees import KINDS  # noqa: E402
from structxlip.config.datasets import dataset_kinds  # noqa: E402


def test_every_kind_is_tried() -> None:
    assert set(KINDS) == set(dataset_kinds()) - {"scenes"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 5, 6])
def test_a_valid_tree_is_kept_whole(tmp_path: Path, kind: str, size: int) -> None:
    assert outcome(kind, Example(size), tmp_path) == Outcome(kept=size)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_nothing_breaks_and_nothing_is_lost(kind: str, data: st.DataObject) -> None:
    example = data.draw(examples())
    with tempfile.TemporaryDirectory() as folder:
        outcome(kind, example, Path(folder))
