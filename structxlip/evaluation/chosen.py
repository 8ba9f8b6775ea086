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
    """The arm that is packaged and searched with: that of ``register.arm``, where `validated`
    stands for ``best_on_validation``."""
    return best_on_validation(metrics) if setting == "validated" else setting


def embedding_metrics(metrics: Mapping[str, Any], arm: str) -> Any:
    """The recalls of an arm in ``comparison.json`` by its embeddings alone, without reranking."""
    return metrics.get(f"{arm}_fused", metrics[arm])
