"""Recall of parts of the queries, such as those with short captions or with few edges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PARTS = 4


class Slice(NamedTuple):
    """A part of the queries.

    Attributes:
        low: the smallest value in it.
        high: the largest value in it.
        queries: how many there are.
        recall: R@1 of each model on them, in percent.
    """

    low: float
    high: float
    queries: int
    recall: dict[str, float]


def recall_by(
    values: NDArray[np.floating] | NDArray[np.integer],
    ranks: Mapping[str, NDArray[np.int64]],
    parts: int = PARTS,
) -> list[Slice]:
    """R@1 in parts of about equal size, from the smallest values to the largest.

    Args:
        values: ``[Q]``, what the queries are sorted by. Equal values are in one part.
        ranks: of the first right answer under each model, ``[Q]``, counted from 0.
        parts: at most so many.
    """
    limits = np.unique(np.quantile(values, np.linspace(0, 1, parts + 1)[1:-1], method="lower"))
    part = np.searchsorted(limits, values, side="left")
    found = []
    for number in np.unique(part):
        chosen = part == number
        recall = {name: 100 * float((of[chosen] == 0).mean()) for name, of in ranks.items()}
        inside = values[chosen]
        found.append(Slice(float(inside.min()), float(inside.max()), int(chosen.sum()), recall))
    return found
