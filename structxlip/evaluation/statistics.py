"""Statistics over recalls: means, standard errors, and bootstrap intervals of a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from structxlip.evaluation.retrieval import WAYS, Ranks


def mean_recall(metrics: Mapping[str, float], k: int = 1, *, prefix: str = "") -> float:
    """Mean recall at ``k`` of both ways, in percent.

    ``metrics`` has the keys of ``Ranks.recall``, after ``prefix``: ``val/`` in a training history.
    """
    return sum(metrics[f"{prefix}{way}/R@{k}"] for way in WAYS) / len(WAYS)


def recall_standard_error(recall: float, images: int) -> float:
    """The standard error, in points, of a recall in percent over so many images."""
    share = recall / 100
    return 100 * math.sqrt(share * (1 - share) / images)


def bootstrap_delta(
    before: Ranks | Sequence[Ranks],
    after: Ranks | Sequence[Ranks],
    text_to_image: NDArray[np.integer],
    *,
    ks: Sequence[int] = (1, 5, 10),
    samples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """The gain of ``after`` over ``before`` in points, with its 95 % bootstrap interval.

    The groups of images that are right for each other's captions are resampled whole, with their
    captions, the same for both models (a paired cluster bootstrap); the gallery stays whole. With
    several seeds the gain is the mean of theirs.

    Args:
        before: ranks of the queries under one model, or under its seeds.
        after: ranks of the same queries under another model, or under as many seeds.
        text_to_image: ``[M]``, the image of each caption.
        ks: of the recalls.
        samples: resamplings.
        seed: of the resamplings.

    Returns:
        ``{"mean", "low", "high"}`` for each key of ``Ranks.recall`` and for ``R@k``, the mean of
        both ways. ``mean`` is the observed gain.
    """
    pairs = list(zip(_seeds(before), _seeds(after), strict=True))
    groups = pairs[0][0].groups
    text_groups, n = groups[text_to_image], int(groups.max()) + 1
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n, np.full(n, 1 / n), size=samples).astype(np.float64)
    draws = np.vstack([np.ones(n), draws])  # the first row is what was observed
    images, captions = draws @ np.bincount(groups), draws @ np.bincount(text_groups)
    deltas: dict[str, dict[str, float]] = {}
    for k in ks:
        image_gain = np.mean([_gain(a.image_to_text, b.image_to_text, k) for a, b in pairs], axis=0)
        text_gain = np.mean([_gain(a.text_to_image, b.text_to_image, k) for a, b in pairs], axis=0)
        of_images = 100 * (draws @ np.bincount(groups, image_gain)) / images
        of_texts = 100 * (draws @ np.bincount(text_groups, text_gain)) / captions
        deltas[f"image_to_text/R@{k}"] = _interval(of_images)
        deltas[f"text_to_image/R@{k}"] = _interval(of_texts)
        deltas[f"R@{k}"] = _interval((of_images + of_texts) / 2)
    return deltas


def _seeds(ranks: Ranks | Sequence[Ranks]) -> Sequence[Ranks]:
    return [ranks] if isinstance(ranks, Ranks) else ranks


def _gain(before: NDArray[np.int64], after: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return (after < k).astype(np.float64) - (before < k)


def _interval(values: NDArray[np.float64]) -> dict[str, float]:
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return {"mean": float(values[0]), "low": float(low), "high": float(high)}
