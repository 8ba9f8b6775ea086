"""The few numbers by which runs are compared: the content of ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from structxlip.evaluation.statistics import mean_recall


def headline(comparison: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of ``metrics.json``, from the content of ``comparison.json``.

    All are the mean R@1 of both ways: in percent of each model on the test split and, with the
    prefix ``val_``, on validation; and in points the gain of StructXLIP over vanilla with the
    bounds of its 95 % interval.
    """
    models = [name for name in ("base", "vanilla", "structxlip") if name in comparison]
    gain, validation = comparison["delta"]["R@1"], comparison["validation"]
    numbers = {name: mean_recall(comparison[name]) for name in models}
    numbers |= {"gain": gain["mean"], "gain_low": gain["low"], "gain_high": gain["high"]}
    numbers |= {f"val_{arm}": validation[arm] for arm in ("vanilla", "structxlip")}
    return {name: round(value, 2) for name, value in numbers.items()}
