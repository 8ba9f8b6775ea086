"""Statistics over recalls: means, standard errors, and bootstrap intervals of a gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from structxlip.evaluation.retrieval import WAYS, Ranks

BLOCK_DRAWS = 2**22  # numbers of a bootstrap in memory at once, 32 MiB


@dataclass(frozen=True)
class Gain:
    """A gain in points, with the bounds of its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Gain:
        """From the observed gain, the first of ``values``, and those of the resamplings."""
        low, high = np.percentile(values[1:], [2.5, 97.5])
        return cls(float(values[0]), float(low), float(high))

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


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
    weights = _Resampling(pairs[0][0].groups, text_to_image, samples, seed)
    deltas: dict[str, dict[str, float]] = {}
    for k, of_images, of_texts in weights.gains(pairs, ks):
        deltas[f"image_to_text/R@{k}"] = asdict(Gain.of(of_images))
        deltas[f"text_to_image/R@{k}"] = asdict(Gain.of(of_texts))
        deltas[f"R@{k}"] = asdict(Gain.of((of_images + of_texts) / 2))
    return deltas


def resampled_gains(
    before: Ranks,
    after: Ranks,
    text_to_image: NDArray[np.integer],
    *,
    samples: int,
    seed: int = 0,
    chosen: NDArray[np.bool_] | None = None,
) -> NDArray[np.float64]:
    """The gain of the mean R@1 of both ways in points: observed, then of each resampling.

    The resampling is that of ``bootstrap_delta``.

    Args:
        before: ranks of the queries under one model.
        after: ranks of the same queries under another model.
        text_to_image: ``[M]``, the image of each caption.
        samples: resamplings, ``S``.
        seed: of the resamplings.
        chosen: ``[N]``, the images whose queries, and those of their captions, count. The gallery
            stays whole. All by default.

    Returns:
        ``[1 + S]``. Resamplings that draw no chosen image are left out.
    """
    weights = _Resampling(before.groups, text_to_image, samples, seed, chosen)
    [(_, of_images, of_texts)] = weights.gains([(before, after)], (1,))
    return (of_images + of_texts) / 2


class _Resampling:
    """Resampled groups, drawn a block at a time; the first resampling is what was observed."""

    def __init__(
        self,
        groups: NDArray[np.int64],
        text_to_image: NDArray[np.integer],
        samples: int,
        seed: int,
        chosen: NDArray[np.bool_] | None = None,
    ) -> None:
        self.groups, self.text_groups = groups, groups[text_to_image]
        self.images = np.ones(len(groups)) if chosen is None else chosen.astype(np.float64)
        self.texts = self.images[text_to_image]
        self.samples, self.seed = samples, seed

    def gains(
        self, pairs: Sequence[tuple[Ranks, Ranks]], ks: Sequence[int]
    ) -> list[tuple[int, NDArray[np.float64], NDArray[np.float64]]]:
        """For each ``k`` the gains of images and of captions as queries, the means over seeds."""
        counted = [(self.groups, self.images), (self.text_groups, self.texts)]
        for k in ks:
            for (groups, weights), way in zip(counted[:2], WAYS, strict=True):
                gain = np.mean(
                    [_gain(getattr(a, way), getattr(b, way), k) for a, b in pairs], axis=0
                )
                counted.append((groups, weights * gain))
        sums = self._sums(np.stack([np.bincount(*column) for column in counted], axis=1))
        images, texts, *gains = sums[sums[:, 0] > 0].T
        found = zip(ks, gains[::2], gains[1::2], strict=True)
        return [
            (k, 100 * of_images / images, 100 * of_texts / texts)
            for k, of_images, of_texts in found
        ]

    def _sums(self, columns: NDArray[np.float64]) -> NDArray[np.float64]:
        """The sums ``[1 + S, C]`` of ``columns [groups, C]`` over the groups of each resampling."""
        n, rng = len(columns), np.random.default_rng(self.seed)
        block = max(BLOCK_DRAWS // n, 1)
        sums = [columns.sum(axis=0)[None]]
        for start in range(0, self.samples, block):
            size = min(block, self.samples - start)
            draws = rng.multinomial(n, np.full(n, 1 / n), size=size).astype(np.float64)
            sums.append(draws @ columns)
        return np.concatenate(sums)


def holm(p: Sequence[float], level: float) -> list[bool]:
    """Test several hypotheses at once: True for each that is rejected.

    The probability that any true one is rejected is at most ``level``. ``p``: a p-value of each.
    Holm's step-down procedure (S. Holm, 1979, Scandinavian Journal of Statistics 6).
    """
    rejected = [False] * len(p)
    for rank, place in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        if p[place] > level / (len(p) - rank):
            break
        rejected[place] = True
    return rejected


def _seeds(ranks: Ranks | Sequence[Ranks]) -> Sequence[Ranks]:
    return [ranks] if isinstance(ranks, Ranks) else ranks


def _gain(before: NDArray[np.int64], after: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    return (after < k).astype(np.float64) - (before < k)
