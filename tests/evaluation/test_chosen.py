"""Validation decides which arm is registered, and the words say so."""

from __future__ import annotations

import pytest

from structxlip.evaluation.chosen import best_on_validation
from structxlip.reports.comparison import validation_text


@pytest.mark.parametrize(
    ("structxlip", "vanilla", "arm", "words"),
    [
        (51.0, 49.5, "structxlip", "StructXLIP is better: R@1 51.0 % against 49.5 % of vanilla."),
        (49.5, 49.5, "vanilla", "StructXLIP is not better: R@1 49.5 % against 49.5 % of vanilla."),
        (48.0, 49.5, "vanilla", "Vanilla is the one to take."),
    ],
)
def test_the_better_arm_on_validation_is_taken(
    structxlip: float, vanilla: float, arm: str, words: str
) -> None:
    metrics = {"validation": {"vanilla": vanilla, "structxlip": structxlip}}
    assert best_on_validation(metrics) == arm
    assert words in validation_text(metrics)
