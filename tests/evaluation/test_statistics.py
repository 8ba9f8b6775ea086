"""Means, standard errors, and intervals that resample groups of images whole."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.evaluation import statistics
from structxlip.evaluation.retrieval import Ranks, retrieval_ranks
from structxlip.evaluation.statistics import (
    bootstrap_delta,
    holm,
    mean_recall,
    recall_standard_error,
    resampled_gains,
)
from tests.evaluation.test_retrieval import split


def test_bootstrap_interval() -> None:
    images, texts, owner = split(200, 400, 1)
    before = retrieval_ranks(images, texts, owner)
    after = retrieval_ranks(images, texts + images[owner], owner)
    deltas = bootstrap_delta(before, after, owner, ks=(1,), samples=500, seed=0)
    gains = {key: after.recall((1,))[key] - before.recall((1,))[key] for key in before.recall((1,))}
    for key, gain in gains.items():
        assert deltas[key]["mean"] == pytest.approx(gain)
        assert deltas[key]["low"] < gain < deltas[key]["high"]
    assert deltas["R@1"]["mean"] == pytest.approx(np.mean(list(gains.values())))
    assert deltas == bootstrap_delta(before, after, owner, ks=(1,), samples=500, seed=0)
    assert deltas != bootstrap_delta(before, after, owner, ks=(1,), samples=500, seed=1)
    same = bootstrap_delta(before, before, owner, ks=(1,), samples=100)
    assert same["R@1"] == {"mean": 0.0, "low": 0.0, "high": 0.0}


def naive_bootstrap(
    before: Ranks, after: Ranks, owner: np.ndarray, k: int, samples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Draws groups with replacement, and measures the recall of all that they hold."""
    n = len(set(before.groups.tolist()))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=samples)
    gains: dict[str, list[float]] = {"image_to_text": [], "text_to_image": []}
    for draw in [np.ones(n, int), *draws]:
        for way, group_of in (
            ("image_to_text", before.groups),
            ("text_to_image", before.groups[owner]),
        ):
            drawn = [i for g in range(n) for i in np.flatnonzero(group_of == g).tolist() * draw[g]]
            hits = [
                np.mean([getattr(ranks, way)[i] < k for i in drawn]) for ranks in (before, after)
            ]
            gains[way].append(100 * float(hits[1] - hits[0]))
    gains[""] = [sum(both) / 2 for both in zip(*gains.values(), strict=True)]
    return {
        f"{way}/R@{k}".removeprefix("/"): {
            "mean": found[0],
            "low": float(np.percentile(found[1:], 2.5)),
            "high": float(np.percentile(found[1:], 97.5)),
        }
        for way, found in gains.items()
    }


@pytest.mark.parametrize("groups", [None, np.arange(12) // 3 * 5, np.arange(12) % 2])
def test_the_bootstrap_is_its_definition(groups: np.ndarray | None) -> None:
    images, texts, owner = split(12, 30, 2)
    before = retrieval_ranks(images, texts, owner, groups)
    after = retrieval_ranks(images, texts + images[owner], owner, groups)
    found = bootstrap_delta(before, after, owner, ks=(1, 3), samples=40, seed=7)
    assert len(found) == 6
    for k in (1, 3):
        for key, expected in naive_bootstrap(before, after, owner, k, 40, 7).items():
            assert found[key] == pytest.approx(expected)


@pytest.mark.parametrize("numbers", [1, 12 * 7])
def test_blocks_of_resamplings_give_the_same_digits(
    monkeypatch: pytest.MonkeyPatch, numbers: int
) -> None:
    images, texts, owner = split(12, 30, 2)
    before = retrieval_ranks(images, texts, owner)
    after = retrieval_ranks(images, texts + images[owner], owner)
    chosen = np.arange(12) < 3
    whole = bootstrap_delta(before, after, owner, samples=40)
    some = resampled_gains(before, after, owner, samples=40, chosen=chosen)
    monkeypatch.setattr(statistics, "BLOCK_DRAWS", numbers)
    assert bootstrap_delta(before, after, owner, samples=40) == whole
    assert (resampled_gains(before, after, owner, samples=40, chosen=chosen) == some).all()


def test_twins_are_one_observation() -> None:
    """Fifty copies of two images say no more about a model than the two do."""
    owner = np.arange(100)
    ranks = [Ranks(owner % 2 * k, owner % 2 * k, owner, {}, {}) for k in (1, 0)]
    narrow = bootstrap_delta(*ranks, owner, samples=200)["R@1"]
    twins = [replace(of, groups=owner % 2) for of in ranks]
    wide = bootstrap_delta(*twins, owner, samples=200)["R@1"]
    assert narrow["mean"] == wide["mean"] == 50
    assert wide["high"] - wide["low"] == 100 > 2 * (narrow["high"] - narrow["low"])


def test_mean_recall_and_its_standard_error() -> None:
    found = {"val/image_to_text/R@5": 20.0, "val/text_to_image/R@5": 50.0}
    assert mean_recall(found, 5, prefix="val/") == 35.0
    assert mean_recall({"image_to_text/R@1": 1.0, "text_to_image/R@1": 4.0}) == 2.5
    hits = np.array([1] * 30 + [0] * 90)
    assert recall_standard_error(25.0, 120) == pytest.approx(100 * hits.std() / math.sqrt(120))


def test_what_is_not_said_is_a_thousand_samples_of_the_usual_recalls() -> None:
    images, texts, owner = split(30, 50, 3)
    before = retrieval_ranks(images, texts, owner)
    after = retrieval_ranks(images, texts + images[owner], owner)
    found = bootstrap_delta(before, after, owner)
    assert found == bootstrap_delta(before, after, owner, ks=(1, 5, 10), samples=1000, seed=0)


def test_the_gain_of_several_seeds_is_their_mean() -> None:
    images, texts, owner = split(30, 50, 3)
    ranks = [retrieval_ranks(images, texts + i * images[owner], owner) for i in range(4)]
    together = bootstrap_delta(ranks[:2], ranks[2:], owner, samples=50)
    apart = [bootstrap_delta(ranks[i], ranks[i + 2], owner, samples=50) for i in range(2)]
    for key, delta in together.items():
        assert delta["mean"] == pytest.approx(sum(found[key]["mean"] for found in apart) / 2)
    with pytest.raises(ValueError, match="shorter"):
        bootstrap_delta(ranks[:2], ranks[2:3], owner)


@given(
    st.lists(st.floats(0.0005, 1), max_size=8),
)
def test_holm_is_the_definition(p: list[float]) -> None:
    """A hypothesis falls when, for every p up to its own, m - rank times it is within the level."""
    ordered = sorted(p)
    limits = {
        value: all(
            smaller * (len(p) - rank) <= 0.05
            for rank, smaller in enumerate(ordered)
            if smaller <= value
        )
        for value in p
    }
    if len(set(p)) == len(p):
        assert holm(p, 0.05) == [limits[value] for value in p]


def test_resampled_gains_of_chosen_images_are_those_of_their_queries() -> None:
    rng = np.random.default_rng(3)
    images, texts = rng.normal(size=(2, 12, 4)), rng.normal(size=(18, 4))
    owner = np.concatenate([np.arange(12), np.arange(6)])
    groups = np.arange(12) // 2
    before, after = (retrieval_ranks(of, texts, owner, groups) for of in images)
    chosen = np.arange(12) < 7
    drawn = resampled_gains(before, after, owner, samples=20, seed=5, chosen=chosen)
    counts = np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), size=20)
    expected = []
    for weights in [np.ones(6), *counts]:
        ways = []
        for way, place in (("image_to_text", np.arange(12)), ("text_to_image", owner)):
            gained = total = 0.0
            for query, image in enumerate(place):
                if chosen[image]:
                    weight = weights[groups[image]]
                    hit = [int(getattr(of, way)[query] < 1) for of in (before, after)]
                    gained += weight * (hit[1] - hit[0])
                    total += weight
            ways.append(100 * gained / total if total else None)
        if None not in ways:
            expected.append(sum(ways) / 2)
    np.testing.assert_allclose(drawn, expected)
