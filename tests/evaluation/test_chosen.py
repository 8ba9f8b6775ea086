"""Validation decides which arm is registered, and the words say so."""

from __future__ import annotations

import pytest

from structxlip.evaluation.chosen import best_on_validation, candidate_arm, embedding_metrics
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
    found = {"vanilla": vanilla, "structxlip": structxlip, "structxlip_fused": structxlip}
    metrics = {"validation": found}
    assert best_on_validation(metrics) == arm
    assert words in validation_text(metrics)


def test_what_may_be_worse_than_vanilla_is_neither_registered_nor_indexed() -> None:
    found = {"vanilla": 49.0, "structxlip_fused": 50.0}
    metrics = {"validation": found, "delta": {"R@1": {"mean": 0.5, "low": -1.5, "high": 2.5}}}
    assert candidate_arm(metrics, "validated", 1.0) == "vanilla"
    assert candidate_arm(metrics, "structxlip", 1.0) == "vanilla"
    assert candidate_arm(metrics, "validated", 2.0) == "structxlip"
    assert candidate_arm(metrics, "vanilla", 2.0) == "vanilla"
    metrics["delta_fused"] = {"R@1": {"mean": 1.5, "low": 0.5, "high": 2.5}}
    assert candidate_arm(metrics, "validated", 1.0) == "structxlip"


def test_embeddings_decide_and_not_what_reranking_adds() -> None:
    found = {"vanilla": 50.0, "structxlip": 55.0, "structxlip_fused": 49.0}
    metrics = {"validation": found}
    assert best_on_validation(metrics) == "vanilla"
    assert "49.0 % against 50.0 % of vanilla, and 55.0 % reranked" in validation_text(metrics)
    recalls = {"vanilla": 1, "structxlip": 2, "structxlip_fused": 3}
    assert embedding_metrics(recalls, "structxlip") == 3
    assert embedding_metrics({"structxlip": 2}, "structxlip") == 2
    assert embedding_metrics(recalls, "vanilla") == 1
