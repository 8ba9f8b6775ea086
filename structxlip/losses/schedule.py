"""The schedule of a loss weight over the epochs."""

from __future__ import annotations

import math


def weight_schedule(
    base: float,
    epoch: float,
    *,
    warm: float = 0,
    decay_start: float | None = None,
    decay_end: float | None = None,
    floor: float = 1.0,
) -> float:
    """The weight of a loss at an epoch (counted from 0, fractions allowed).

    The weight rises linearly from 0 over the first ``warm`` epochs and stays at ``base`` until
    ``decay_start``. It falls along half a cosine to ``floor * base`` at ``decay_end`` and stays.
    Without a decay it stays at ``base``.

    Example:
        >>> weight_schedule(0.5, 1.0, warm=2)
        0.25
    """
    if epoch < warm:
        return base * epoch / warm
    if decay_start is None or decay_end is None or epoch <= decay_start:
        return base
    done = min((epoch - decay_start) / (decay_end - decay_start), 1.0)
    return base * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)
