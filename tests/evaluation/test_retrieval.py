"""Recall equals its definition written as loops, and CLIP_benchmark's where there are no ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytrec_eval
import torch
from clip_benchmark.metrics.zeroshot_retrieval import batchify, recall_at_k
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.evaluation import retrieval
from structxlip.evaluation.embedding import embed_split
from structxlip.evaluation.retrieval import retrieval_metrics, retrieval_ranks, strict_ceilings
from structxlip.models.build import build_model
from tests.store import Artifacts


def split(
    images: int, texts: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Random embeddings; every image has a text, the rest belong to any."""
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), rng.integers(0, images, texts - images)])
    rng.shuffle(owner)
    draw = rng.standard_normal
    return draw((images, 4), np.float32), draw((texts, 4), np.float32), owner


def naive(
    images: NDArray[np.float32],
    texts: NDArray[np.float32],
    owner: NDArray[np.int64],
    groups: NDArray[np.int64],
    k: int,
) -> tuple[float, float]:
    """A query hits when a right answer has fewer than k wrong ones of its score or above."""
    scores = images @ texts.T
    right = [[groups[i] == groups[owner[t]] for t in range(len(texts))] for i in range(len(images))]
    forth = [
        any(
            right[i][t]
            and sum(scores[i, o] >= scores[i, t] for o in range(len(texts)) if not right[i][o]) < k
            for t in range(len(texts))
        )
        for i in range(len(images))
    ]
    back = [
        any(
            right[i][t]
            and sum(scores[o, t] >= scores[i, t] for o in range(len(images)) if not right[o][t]) < k
            for i in range(len(images))
        )
        for t in range(len(texts))
    ]
    return 100 * float(np.mean(forth)), 100 * float(np.mean(back))


@given(
    images=st.integers(1, 8),
    extra=st.integers(0, 8),
    seed=st.integers(0, 999),
    k=st.integers(1, 4),
    kinds=st.integers(1, 9),
)
@settings(deadline=None)
def test_recall_is_its_definition(images: int, extra: int, seed: int, k: int, kinds: int) -> None:
    given_split = split(images, images + extra, seed)
    groups = np.random.default_rng(seed).integers(0, kinds, images) * 7 - 5
    for relation, names in ((groups, groups), (None, np.arange(images))):
        found = retrieval_metrics(*given_split, ks=(k,), groups=relation)
        assert (found[f"image_to_text/R@{k}"], found[f"text_to_image/R@{k}"]) == pytest.approx(
            naive(*given_split, names, k)
        )


def naive_measures(scores: NDArray[np.float32], right: NDArray[np.bool_]) -> dict[str, float]:
    """Measures of a ranking in which a wrong answer stands before a right one of its score."""
    firsts, precisions, gains = [], [], []
    for row, is_right in zip(scores, right, strict=True):
        order = sorted(range(len(row)), key=lambda answer: (-row[answer], is_right[answer]))
        ranked = [bool(is_right[answer]) for answer in order]
        firsts.append(ranked.index(True) + 1)
        hits = [sum(ranked[: k + 1]) / (k + 1) for k in range(min(10, len(ranked))) if ranked[k]]
        precisions.append(sum(hits) / sum(ranked))
        gain = sum(1 / math.log2(k + 2) for k, hit in enumerate(ranked[:10]) if hit)
        gains.append(gain / sum(1 / math.log2(k + 2) for k in range(min(10, sum(ranked)))))
    return {
        "median_rank": float(np.median(firsts)),
        "MRR": 100 * float(np.mean([1 / first for first in firsts])),
        "mAP@10": 100 * float(np.mean(precisions)),
        "nDCG@10": 100 * float(np.mean(gains)),
    }


@given(
    images=st.integers(1, 8),
    extra=st.integers(0, 30),
    seed=st.integers(0, 999),
    kinds=st.integers(1, 9),
    ties=st.booleans(),
)
def test_measures_are_their_definitions(
    images: int, extra: int, seed: int, kinds: int, ties: bool
) -> None:
    one, other, owner = split(images, images + extra, seed)
    if ties:
        one, other = np.sign(one), np.sign(other)
    groups = np.random.default_rng(seed).integers(0, kinds, images)
    found = retrieval_metrics(one, other, owner, groups=groups)
    scores, right = one @ other.T, groups[:, None] == groups[owner]
    ways = {"image_to_text": (scores, right), "text_to_image": (scores.T, right.T)}
    for way, arrays in ways.items():
        for name, value in naive_measures(*arrays).items():
            assert found[f"{way}/{name}"] == pytest.approx(value)


@pytest.mark.parametrize("source", ["random", "a model"])
def test_measures_are_those_of_trec_eval(source: str, artifacts: Artifacts, params: Params) -> None:
    images, texts, owner = split(60, 150, 1)
    if source == "a model":
        store = artifacts.store
        model = build_model(params.recipe_settings.model, store, seed=0, edge_branch=None)
        test = embed_split(model, store, None, "train", 0.0)
        images, texts, owner = test.images, test.texts, test.text_to_image
    found = retrieval_metrics(images, texts, owner)
    scores = images @ texts.T
    right = owner == np.arange(len(images))[:, None]
    for way, table, relevant in (
        ("image_to_text", scores, right),
        ("text_to_image", scores.T, right.T),
    ):
        judged = {
            f"q{q}": {f"d{d}": int(hit) for d, hit in enumerate(row)}
            for q, row in enumerate(relevant)
        }
        run = {
            f"q{q}": {f"d{d}": float(score) for d, score in enumerate(row)}
            for q, row in enumerate(table)
        }
        measures = {"recip_rank", "map_cut_10", "ndcg_cut_10"}
        results = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run).values()
        for theirs, ours in (
            ("recip_rank", "MRR"),
            ("map_cut_10", "mAP@10"),
            ("ndcg_cut_10", "nDCG@10"),
        ):
            expected = 100 * np.mean([result[theirs] for result in results])
            assert found[f"{way}/{ours}"] == pytest.approx(expected, abs=1e-4)


def test_equal_captions_are_right_for_the_images_of_each_other() -> None:
    """Perfect embeddings of three pairs, of which two share a caption: strict recall sees ties."""
    pairs, owner, groups = np.eye(2)[[0, 0, 1]], np.arange(3), np.array([4, 4, 9])
    for name, value in retrieval_metrics(pairs, pairs, owner, groups=groups).items():
        assert value == (1 if "median_rank" in name else 100)
    strict = retrieval_ranks(pairs, pairs, owner).recall((1,))
    assert list(strict.values()) == pytest.approx([100 / 3] * 2)


@given(seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_where_all_captions_differ_recall_is_strict(seed: int) -> None:
    given_split = split(9, 20, seed)
    names = np.random.default_rng(seed).permutation(9)
    strict, related = retrieval_ranks(*given_split), retrieval_ranks(*given_split, names)
    assert np.array_equal(strict.image_to_text, related.image_to_text)
    assert np.array_equal(strict.text_to_image, related.text_to_image)


def test_recall_is_that_of_clip_benchmark() -> None:
    images, texts, owner = split(60, 150, 0)
    scores = torch.from_numpy(texts @ images.T)
    positives = torch.zeros(scores.shape, dtype=torch.bool)
    positives[torch.arange(len(texts)), torch.from_numpy(owner)] = True
    for k in (1, 5, 10):
        found = retrieval_metrics(images, texts, owner, ks=(k,))
        back = batchify(recall_at_k, scores, positives, 64, "cpu", k=k)
        forth = batchify(recall_at_k, scores.T, positives.T, 64, "cpu", k=k)
        assert found[f"text_to_image/R@{k}"] == pytest.approx(
            100 * float((back > 0).float().mean()), abs=1e-4
        )
        assert found[f"image_to_text/R@{k}"] == pytest.approx(
            100 * float((forth > 0).float().mean()), abs=1e-4
        )


def test_the_usual_recalls_are_at_1_5_and_10() -> None:
    given_split = split(30, 40, 4)
    usual = retrieval_metrics(*given_split, ks=(1, 5, 10))
    recalls = {key: value for key, value in usual.items() if "R@" in key}
    assert list(recalls) == [
        f"{way}/R@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)
    ]
    assert len(set(recalls.values())) == 6
    assert retrieval_metrics(*given_split) == retrieval_ranks(*given_split).metrics() == usual
    assert retrieval_ranks(*given_split).recall() == recalls
    named = retrieval_ranks(*given_split).recall(prefix="strict/")
    assert named == {f"strict/{key}": value for key, value in recalls.items()}


def test_ties_count_against_the_model() -> None:
    same = np.ones((3, 2), np.float32)
    ranks = retrieval_ranks(same, same, np.arange(3))
    assert set(ranks.recall((1, 2)).values()) == {0.0}
    assert set(ranks.recall((3,)).values()) == {100.0}
    assert ranks.metrics()["image_to_text/median_rank"] == 3


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    given_split = split(20, 50, 3)
    whole = retrieval_ranks(*given_split)
    monkeypatch.setattr(retrieval, "BLOCK_SCORES", 70)
    blocks = retrieval_ranks(*given_split)
    assert np.array_equal(whole.image_to_text, blocks.image_to_text)
    assert np.array_equal(whole.text_to_image, blocks.text_to_image)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i, t, o: (i, t[:, :2], o), r"must be \[N, D\]"),
        (lambda i, t, o: (i, t, o[:-1]), "must be integer"),
        (lambda i, t, o: (i, t, o + 1), r"must lie in \[0, 4\)"),
        (lambda i, t, o: (i, t, np.zeros_like(o)), "3 images have no text"),
        (lambda i, t, o: (i * np.nan, t, o), "must be finite"),
        (lambda i, t, o: (i, t * np.inf, o), "must be finite"),
        (lambda i, t, o: (i, t, o - 1), r"must lie in \[0, 4\)"),
        (lambda i, t, o: (i, t, o.astype(float)), "must be integer"),
        (lambda i, t, o: (i[0], t, o), r"must be \[N, D\] and \[M, D\], got \(4,\), \(6, 4\)"),
        (lambda i, t, o: (i, t[0], o), r"must be \[N, D\]"),
        (lambda i, t, o: (i, t, o, (1,), np.arange(3)), r"groups must be integer \[4\], got int64"),
        (lambda i, t, o: (i, t, o, (1,), np.zeros(4)), "groups must be integer"),
    ],
)
def test_refused(change: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(*change(*split(4, 6, 0)))  # type: ignore[operator]


@settings(max_examples=60)
@given(
    owner=st.lists(st.integers(0, 4), min_size=1, max_size=8).map(
        lambda rows: np.unique(rows, return_inverse=True)[1]
    ),
    data=st.data(),
)
def test_no_model_is_above_the_strict_ceiling_and_some_model_reaches_it(
    owner: NDArray[np.int64], data: st.DataObject
) -> None:
    """Equal captions have one embedding, whatever the model is."""
    size = len(owner)
    ids = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    most = strict_ceilings(owner, ids)
    images = int(owner.max()) + 1
    rng = np.random.default_rng(0)
    for _ in range(5):
        found = retrieval_ranks(
            rng.standard_normal((images, 3), np.float32),
            rng.standard_normal((4, 3), np.float32)[ids],
            owner,
        ).recall((1,))
        assert all(found[way] <= most[way] + 1e-9 for way in most)

    # Captions whose embedding is that of the image that has most of them.
    basis = np.eye(images, dtype=np.float32)
    counts = np.array([np.bincount(owner[ids == one], minlength=images) for one in range(4)])
    best = retrieval_ranks(basis, basis[counts.argmax(axis=1)][ids], owner).recall((1,))
    assert best["text_to_image/R@1"] == pytest.approx(most["text_to_image/R@1"])
    # Captions of one image alone lie on it, and all others nowhere.
    alone = basis[counts.argmax(axis=1)] * ((counts > 0).sum(axis=1) == 1)[:, None]
    best = retrieval_ranks(basis, alone[ids].astype(np.float32), owner).recall((1,))
    assert best["image_to_text/R@1"] == pytest.approx(most["image_to_text/R@1"])
