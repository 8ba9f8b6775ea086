"""The comparison in words and rows: a gain never stands without its interval."""

from __future__ import annotations

import pytest

from structxlip.reports.comparison import best_row, gain_sentence, model_labels


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.2, 3.0, "StructXLIP is better than vanilla: +1.5 points of R@1 [+0.2, +3.0]"),
        (-2.0, 3.0, "no difference to vanilla is shown: +1.5 points of R@1 [-2.0, +3.0]"),
        (0.0, 3.0, "no difference to vanilla is shown: +1.5 points of R@1 [+0.0, +3.0]"),
        (-9.0, -1.0, "StructXLIP is worse than vanilla: +1.5 points of R@1 [-9.0, -1.0]"),
    ],
)
def test_a_gain_is_told_with_its_interval(low: float, high: float, said: str) -> None:
    assert gain_sentence({"delta": {"R@1": {"mean": 1.5, "low": low, "high": high}}}) == said


@pytest.mark.parametrize(("vanilla", "best"), [(50.0, "vanilla"), (40.0, "structxlip")])
@pytest.mark.parametrize("beta", [0.0, 0.3])
def test_the_better_model_on_validation_is_marked(vanilla: float, best: str, beta: float) -> None:
    found = {"vanilla": vanilla, "structxlip": 45.0, "structxlip_fused": 45.0}
    metrics = {"alpha": 0.5, "beta": beta, "validation": found}
    assert list(model_labels(metrics))[best_row(metrics)] == best
