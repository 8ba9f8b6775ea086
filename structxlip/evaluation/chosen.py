"""The arm that validation chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


def best_on_validation(metrics: Mapping[str, Any]) -> Literal["vanilla", "structxlip"]:
    """The arm with the higher mean R@1 on validation in ``comparison.json``; of equals vanilla,
    which needs no edge maps.

    Embeddings decide, without reranking: the registered model gives them alone.
    """
    found = metrics["validation"]
    return "structxlip" if found["structxlip_fused"] > found["vanilla"] else "vanilla"


def chosen_arm(metrics: Mapping[str, Any], setting: str) -> str:
    """The arm that is meant: that of ``register.arm``, where `validated`
    stands for ``best_on_validation``."""
    return best_on_validation(metrics) if setting == "validated" else setting


def candidate_arm(metrics: Mapping[str, Any], setting: str, margin: float) -> str:
    """The arm that is registered and indexed: the chosen one, or vanilla where that one may be
    worse than it.

    Args:
        metrics: the content of ``comparison.json``.
        setting: ``register.arm``.
        margin: ``gate.margin``, the points of R@1 that count as no loss.
    """
    arm = chosen_arm(metrics, setting)
    return arm if arm == "vanilla" or embedding_gain(metrics)["low"] >= -margin else "vanilla"


def embedding_gain(metrics: Mapping[str, Any]) -> Any:
    """The gain of R@1 over vanilla on the test split, by embeddings alone: mean, low and high."""
    return metrics.get("delta_fused", metrics["delta"])["R@1"]


def embedding_metrics(metrics: Mapping[str, Any], arm: str) -> Any:
    """The recalls of an arm in ``comparison.json`` by its embeddings alone, without reranking."""
    return metrics.get(f"{arm}_fused", metrics[arm])
