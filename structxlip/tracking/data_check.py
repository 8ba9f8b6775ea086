"""The data check: whether new pairs are like the old ones. Pure functions of numbers and arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from structxlip.config.data_check import DataCheck, Limit

LEVEL = 0.01  # of the tests of Kolmogorov and Smirnov
LEAST_AGREEMENT = 0.1  # over guessing, from which the champion can tell pairs from others


@dataclass(frozen=True)
class PairNumbers:
    """What is known of a sample of pairs, at most one of a group.

    Attributes:
        captions: one of each pair, ``N``.
        words: of these captions, ``[N]``.
        densities: of the edge maps, ``[N]``.
        images: unit embeddings of the champion, ``[N, D]``.
        texts: those of the captions, ``[N, D]``.
    """

    captions: Sequence[str]
    words: NDArray[np.float64]
    densities: NDArray[np.float64]
    images: NDArray[np.float32]
    texts: NDArray[np.float32]

    def __getitem__(self, part: slice) -> PairNumbers:
        """Some of the pairs."""
        return PairNumbers(
            self.captions[part],
            self.words[part],
            self.densities[part],
            self.images[part],
            self.texts[part],
        )


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: the key below `data_check`.
        value: what was measured.
        passed: whether it is within the limit.
        action: `stop`, `warn` or `off`, where it is not.
        told: one sentence.
    """

    name: str
    value: float
    passed: bool
    action: str
    told: str

    @property
    def stops(self) -> bool:
        """Whether nothing may be trained."""
        return not self.passed and self.action == "stop"


def check_pairs(
    new: PairNumbers, old: PairNumbers, settings: DataCheck, seed: int = 0
) -> list[Finding]:
    """Compare new pairs with old ones that the champion was not trained on.

    Both need ``min_pairs``. ``seed`` is of permutations and resamplings.
    """
    rng = np.random.default_rng(seed)
    embedded, before = (np.concatenate([p.images, p.texts], axis=1) for p in (new, old))
    drift = mmd_p_value(embedded, before, settings.resamples, rng)
    return [
        _moved("caption_lengths", new.words, old.words, settings.caption_lengths),
        _moved("edge_density", new.densities, old.densities, settings.edge_density),
        _repeated(new, old, settings.repeated),
        Finding(
            "drift",
            drift,
            drift >= settings.drift.limit,
            settings.drift.action,
            f"the embeddings of new pairs are like those of old ones with p = {drift:.3f}",
        ),
        _mismatched(new, old, settings, rng),
    ]


def check_share(bad_fraction: float, limit: Limit) -> Finding:
    """Whether the share of bad pairs is within its limit."""
    told = f"{100 * bad_fraction:.1f} % of the pairs are quarantined"
    return Finding("quarantined", bad_fraction, bad_fraction <= limit.limit, limit.action, told)


def _moved(name: str, new: NDArray[np.float64], old: NDArray[np.float64], limit: Limit) -> Finding:
    from scipy.stats import ks_2samp

    found = ks_2samp(new, old, nan_policy="omit")  # an image without an edge map
    distance, p = float(found.statistic), float(found.pvalue)
    medians = f"median {np.nanmedian(new):.3g}, against {np.nanmedian(old):.3g} of old pairs"
    told = f"{name.replace('_', ' ')}: {medians}; distance {distance:.2f}, p = {p:.3f}"
    return Finding(name, distance, p >= LEVEL or distance <= limit.limit, limit.action, told)


def _repeated(new: PairNumbers, old: PairNumbers, limit: Limit) -> Finding:
    shares = [repeated_share(pairs.captions) for pairs in (new, old)]
    more = shares[0] - shares[1]
    told = "{:.0f} % of the new captions are repeated, against {:.0f} %".format(
        *(100 * share for share in shares)
    )
    return Finding("repeated", more, more <= limit.limit, limit.action, told)


def repeated_share(captions: Sequence[str]) -> float:
    """The share of captions that stand there more than once; upper and lower case are alike."""
    _, counts = np.unique([text.lower() for text in captions], return_counts=True)
    return float(counts[counts > 1].sum() / len(captions))


def mmd_p_value(
    one: NDArray[np.floating],
    other: NDArray[np.floating],
    permutations: int,
    rng: np.random.Generator,
) -> float:
    """The p-value of the hypothesis that two samples are of one distribution.

    The statistic is the maximum mean discrepancy with a Gaussian kernel, whose width is the median
    distance (Gretton et al., 2012). Exact for any sizes: labels are permuted.

    Args:
        one: ``[N, D]``.
        other: ``[M, D]``.
        permutations: of the labels.
        rng: draws them.
    """
    points = np.concatenate([one, other]).astype(np.float64)
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * points @ points.T, 0)
    width = np.median(distances[np.triu_indices(len(points), 1)]) or 1.0
    kernel = np.exp(-distances / width)
    labels = np.concatenate([np.full(len(one), 1 / len(one)), np.full(len(other), -1 / len(other))])
    drawn = np.stack([labels, *(rng.permutation(labels) for _ in range(permutations))])
    values = ((drawn @ kernel) * drawn).sum(axis=1)
    return float((values >= values[0] - 1e-12).mean())


def agreement(
    images: NDArray[np.floating], texts: NDArray[np.floating], pool: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How well each caption fits its image, ``[N]``: the share of other captions that fit less
    well, in [0, 1]. Guessing gives 1/2.

    Args:
        images: ``[N, D]``.
        texts: the caption of each, ``[N, D]``.
        pool: other captions, ``[M, D]``; equal ones count half.
    """
    own = (images * texts).sum(axis=1, keepdims=True)
    others = images @ pool.T
    below = (others < own - 1e-6).mean(axis=1)
    equal = (np.abs(others - own) <= 1e-6).mean(axis=1)
    return np.asarray(below + equal / 2, np.float64)


def mismatched_share(
    new: NDArray[np.float64], old: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> tuple[float, float]:
    """The share of new captions that belong to another image, and its lower 95 % bound.

    A caption of another image agrees like a guess, 1/2 on average. So the mean agreement of new
    pairs falls from that of old ones towards 1/2 by this share. The bound is a bootstrap's.

    Args:
        new: agreements, ``[N]``.
        old: agreements of old pairs, ``[M]``, with a mean above 1/2.
        resamples: of the bootstrap.
        rng: draws them.
    """

    def share(of_new: NDArray[np.float64], of_old: NDArray[np.float64]) -> NDArray[np.float64]:
        return (of_old - of_new) / np.maximum(of_old - 0.5, 1e-9)

    means = [
        values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
        for values in (new, old)
    ]
    return float(share(new.mean(), old.mean())), float(np.quantile(share(*means), 0.05))


def _mismatched(
    new: PairNumbers, old: PairNumbers, settings: DataCheck, rng: np.random.Generator
) -> Finding:
    pool = np.concatenate([new.texts, old.texts])
    of_new, of_old = (agreement(pairs.images, pairs.texts, pool) for pairs in (new, old))
    limit = settings.mismatched
    if of_old.mean() < 0.5 + LEAST_AGREEMENT:
        told = "the champion does not tell pairs from others, so captions are not checked by it"
        return Finding("mismatched", 0.0, True, limit.action, told)
    found, low = mismatched_share(of_new, of_old, settings.resamples, rng)
    told = (
        f"about {100 * max(found, 0):.0f} % of the new captions do not belong to their images, as "
        f"the champion sees it (at least {100 * max(low, 0):.0f} %)"
    )
    return Finding("mismatched", low, low <= limit.limit, limit.action, told)
