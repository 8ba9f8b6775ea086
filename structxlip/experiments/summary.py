"""From the outcomes of trials to the cells and the pictures of a table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from structxlip.evaluation.retrieval import WAYS, Ranks
from structxlip.evaluation.statistics import mean_recall
from structxlip.experiments.trials import Outcome, Trial


def by_row(trials: Sequence[Trial], outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """The outcomes of each row, one for each seed."""
    found: dict[str, list[Outcome]] = {}
    for trial, outcome in zip(trials, outcomes, strict=True):
        found.setdefault(trial.row, []).append(outcome)
    return found


def recalls(seeds: Sequence[Ranks]) -> dict[str, Any]:
    """The mean and the standard deviation over seeds of R@1, each way and of both."""
    found = [ranks.recall((1,)) for ranks in seeds]
    values = {f"{way}/R@1": [one[f"{way}/R@1"] for one in found] for way in WAYS}
    values["R@1"] = [mean_recall(one) for one in found]
    return {name: mean_and_deviation(numbers) for name, numbers in values.items()}


def mean_and_deviation(values: Sequence[float]) -> dict[str, float | None]:
    """The mean and the standard deviation of some numbers; one number has no deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation}


def spread(value: Mapping[str, Any], digits: int = 1) -> str:
    """A mean with its standard deviation, such as `40.5 ± 1.1`."""
    deviation = value["deviation"]
    shown = "" if deviation is None else f" ± {deviation:.{digits}f}"
    return f"{value['mean']:.{digits}f}{shown}"


def about(found: Mapping[str, Any]) -> str:
    """Of which data, recipe and seeds the numbers are."""
    seeds = ", ".join(map(str, found["seeds"]))
    return f"Dataset `{found['dataset']}`, recipe `{found['recipe']}`, seeds {seeds}."
