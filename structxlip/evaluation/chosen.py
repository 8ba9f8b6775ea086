"""The arm that validation chooses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal


def best_on_validation(metrics: Mapping[str, Any]) -> Literal["vanilla", "structxlip"]:
    """The arm with the higher mean R@1 on validation in ``metrics.json``; of equals vanilla, which
    needs no edge maps."""
    found = metrics["validation"]
    return "structxlip" if found["structxlip"] > found["vanilla"] else "vanilla"
