"""The few numbers of metrics.json, from all numbers of the comparison."""

from __future__ import annotations

import pytest

from structxlip.evaluation.headline import headline


@pytest.mark.parametrize("zero_shot", [False, True])
def test_the_headline_is_recall_at_1_and_the_gain(zero_shot: bool) -> None:
    def recalls(one: float, other: float) -> dict[str, float]:
        return {"image_to_text/R@1": one, "text_to_image/R@1": other, "text_to_image/R@5": 99.0}

    comparison = {
        "vanilla": recalls(40.0, 41.0),
        "structxlip": recalls(50.0, 50.111),
        "delta": {"R@1": {"mean": 9.5555, "low": 6.6, "high": 12.0}, "strict/R@1": {}},
        "validation": {"vanilla": 42.0, "structxlip": 51.0, "structxlip_fused": 49.0},
        "alpha": 0.5,
    } | ({"base": recalls(1.0, 3.0)} if zero_shot else {})
    assert headline(comparison) == ({"base": 2.0} if zero_shot else {}) | {
        "vanilla": 40.5,
        "structxlip": 50.06,
        "gain": 9.56,
        "gain_low": 6.6,
        "gain_high": 12.0,
        "val_vanilla": 42.0,
        "val_structxlip": 51.0,
    }
