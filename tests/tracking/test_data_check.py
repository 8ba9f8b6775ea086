"""The data check: its tests err as often as they say, and shuffled captions are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from structxlip.config.data_check import DataCheck, Limit
from structxlip.tracking.data_check import (
    Finding,
    PairNumbers,
    agreement,
    check_pairs,
    check_share,
    mismatched_share,
    mmd_p_value,
    repeated_share,
)

SETTINGS = DataCheck(resamples=200)


def pairs_of(count: int, rng: np.random.Generator, noise: float = 0.25) -> PairNumbers:
    """Pairs as a model of middling quality embeds them: images near their captions."""
    texts = rng.normal(size=(count, 16))
    images = texts + 4 * noise * rng.normal(size=(count, 16))
    words = rng.integers(5, 30, count).astype(float)
    return PairNumbers(
        captions=[f"caption {number}" for number in rng.integers(10**9, size=count)],
        words=words,
        densities=rng.beta(2, 8, count),
        images=(images / np.linalg.norm(images, axis=1, keepdims=True)).astype(np.float32),
        texts=(texts / np.linalg.norm(texts, axis=1, keepdims=True)).astype(np.float32),
    )


def shuffled(pairs: PairNumbers, share: float, rng: np.random.Generator) -> PairNumbers:
    """The captions of a share of the pairs go round."""
    order = np.arange(len(pairs.words))
    chosen = rng.choice(order, round(share * len(order)), replace=False)
    order[chosen] = np.roll(chosen, 1)
    return replace(pairs, texts=pairs.texts[order])


def found(new: PairNumbers, old: PairNumbers, seed: int = 0) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_pairs(new, old, SETTINGS, seed)}


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(120, 300), noise=st.floats(0.1, 0.5))
@settings(max_examples=25)
def test_captions_shuffled_for_three_in_ten_new_pairs_stop(
    seed: int, count: int, noise: float
) -> None:
    rng = np.random.default_rng(seed)
    old, new = pairs_of(150, rng, noise), pairs_of(count, rng, noise)
    stopped = found(shuffled(new, 0.3, rng), old)["mismatched"]
    assert stopped.stops, stopped.told
    whole = found(new, old)["mismatched"]
    assert not whole.stops, whole.told


def test_the_share_of_shuffled_captions_is_measured() -> None:
    rng = np.random.default_rng(0)
    old, new = pairs_of(2000, rng), shuffled(pairs_of(2000, rng), 0.3, rng)
    agreements = (agreement(pairs.images, pairs.texts, old.texts) for pairs in (new, old))
    share, low = mismatched_share(*agreements, 200, rng)
    assert share == pytest.approx(0.3, abs=0.04)
    assert share - 0.06 < low < share


def rejections(trial: object, count: int, level: float) -> float:
    """The share of trials whose p-value is not above a level, in units of the binomial spread."""
    p = np.array([trial(np.random.default_rng(seed)) for seed in range(count)])  # type: ignore[operator]
    return float(((p <= level).mean() - level) / np.sqrt(level * (1 - level) / count))


def test_the_tests_err_as_often_as_they_say() -> None:
    def mmd(rng: np.random.Generator) -> float:
        return mmd_p_value(rng.normal(size=(25, 4)), rng.normal(size=(40, 4)), 99, rng)

    def mismatch(rng: np.random.Generator) -> float:
        old, new = pairs_of(100, rng), pairs_of(80, rng)
        agreements = (agreement(pairs.images, pairs.texts, old.texts) for pairs in (new, old))
        return 0.05 if mismatched_share(*agreements, 200, rng)[1] > 0 else 1.0

    assert abs(rejections(mmd, 400, 0.05)) < 3.5
    assert abs(rejections(mismatch, 300, 0.05)) < 3.5


def test_mmd_is_that_of_its_definition() -> None:
    """The statistic by loops, for all permutations of five points."""
    from itertools import combinations

    rng = np.random.default_rng(3)
    points = rng.normal(size=(5, 2))
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    kernel = np.exp(-squared / np.median(squared[np.triu_indices(5, 1)]))

    def statistic(first: tuple[int, ...]) -> float:
        rest = [i for i in range(5) if i not in first]
        within = np.mean([kernel[i, j] for i in first for j in first])
        others = np.mean([kernel[i, j] for i in rest for j in rest])
        return within + others - 2 * np.mean([kernel[i, j] for i in first for j in rest])

    values = [statistic(first) for first in combinations(range(5), 2)]
    expected = np.mean(np.array(values) >= values[0] - 1e-12)
    assert mmd_p_value(points[:2], points[2:], 4000, rng) == pytest.approx(expected, abs=0.03)


def moved(pairs: PairNumbers, direction: NDArray[np.float32]) -> PairNumbers:
    images = pairs.images + direction
    return replace(pairs, images=images / np.linalg.norm(images, axis=1, keepdims=True))


def test_each_check_sees_its_own_fault_and_passes_without() -> None:
    rng = np.random.default_rng(1)
    old, new = pairs_of(200, rng), pairs_of(200, rng)
    assert all(finding.passed for finding in found(new, old).values())
    faults = {
        "caption_lengths": replace(new, words=new.words + 20),
        "edge_density": replace(new, densities=new.densities / 3),
        "repeated": replace(new, captions=["a photograph"] * 200),
        "drift": moved(new, np.full(16, 0.3, np.float32)),
        "mismatched": shuffled(new, 0.5, rng),
    }
    for name, faulty in faults.items():
        finding = found(faulty, old)[name]
        assert not finding.passed, finding.told
        assert finding.stops == (name == "mismatched")


def test_a_champion_that_tells_nothing_stops_nothing() -> None:
    rng = np.random.default_rng(2)
    old, new = (shuffled(pairs_of(100, rng), 1.0, rng) for _ in range(2))
    finding = found(new, old)["mismatched"]
    assert finding.passed
    assert "does not tell pairs from others" in finding.told


def test_shares() -> None:
    assert repeated_share(["A dog", "a dog", "a cat"]) == pytest.approx(2 / 3)
    assert check_share(0.1, Limit(action="stop", limit=0.05)).stops
    assert not check_share(0.05, Limit(action="stop", limit=0.05)).stops
    assert not check_share(0.1, Limit(action="off", limit=0.05)).stops
