"""The side-by-side protocol: alpha from validation, the same test split for every model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from structxlip.config import Params
from structxlip.evaluation import embedding
from structxlip.evaluation.embedding import Parts, Scorer, embed_parts, embed_split
from structxlip.evaluation.protocol import Scorers, compare, recall_at_1
from structxlip.evaluation.retrieval import retrieval_metrics
from structxlip.evaluation.statistics import bootstrap_delta
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.reports.comparison import ceiling_sentence, comparison_table
from tests.store import Artifacts


@pytest.fixture
def model(artifacts: Artifacts, params: Params) -> StructXLIP:
    return build_model(
        params.recipe_settings.model, artifacts.store, seed=params.seed, edge_branch="cnn"
    ).eval()


def test_a_split_is_embedded_in_blocks_as_a_whole(
    artifacts: Artifacts, model: StructXLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, edges = artifacts.store, artifacts.maps
    whole = embed_split(model, store, edges, "train", 0.5)
    rows = store.rows("train")
    captions, owner = store.captions_of(rows)
    assert whole.images.shape == (28, 16)
    assert whole.text_to_image.tolist() == owner.tolist()
    fused = model.embed_images(
        torch.from_numpy(store.image[rows]), torch.from_numpy(edges.maps(rows)), 0.5
    )
    np.testing.assert_allclose(whole.images, fused, atol=1e-6)
    texts = model.embed_texts(torch.from_numpy(store.caption[captions]))
    np.testing.assert_allclose(whole.texts, texts, atol=1e-6)
    monkeypatch.setattr(embedding, "BLOCK", 5)
    np.testing.assert_allclose(
        embed_split(model, store, edges, "train", 0.5).images, whole.images, atol=1e-5
    )


def test_without_edge_maps_or_a_weight_the_image_alone_is_embedded(
    artifacts: Artifacts, model: StructXLIP
) -> None:
    store, edges = artifacts.store, artifacts.maps
    plain = embed_split(model, store, None, "test", 0.0)
    for view, alpha in ((None, 0.5), (edges, 0.0)):
        found = embed_split(model, store, view, "test", alpha)
        np.testing.assert_array_equal(found.images, plain.images)
    assert not np.array_equal(embed_split(model, store, edges, "test", 0.5).images, plain.images)


@pytest.mark.parametrize("zero_shot", [False, True])
def test_models_stand_side_by_side(
    artifacts: Artifacts, params: Params, model: StructXLIP, zero_shot: bool
) -> None:
    vanilla = build_model(
        params.recipe_settings.model, artifacts.store, seed=params.seed, edge_branch=None
    ).eval()
    base = vanilla if zero_shot else None
    metrics = compare(
        base,
        vanilla,
        model,
        artifacts.store,
        artifacts.maps,
        scorers=Scorers([0.0]),
        bootstrap_samples=100,
        seed=0,
    ).metrics
    # Untrained, both arms have the same heads: without the edge branch they are the same model.
    assert metrics["alpha"] == metrics["beta"] == 0
    assert metrics["vanilla"] == metrics["structxlip"]
    assert metrics.get("base") == (metrics["vanilla"] if zero_shot else None)
    assert metrics["delta"]["R@1"] == {"mean": 0, "low": 0, "high": 0}
    assert metrics["test_pairs"] == 8
    # The first and the last pair share a caption, but only one of them is in the test split.
    assert metrics["test_pairs_sharing_a_caption"] == 0
    assert set(metrics["strict_ceiling"].values()) == {100}
    for key in ("image_to_text/R@1", "text_to_image/R@10"):
        assert metrics["vanilla"][f"strict/{key}"] == metrics["vanilla"][key]
    assert metrics["delta"]["strict/R@1"] == metrics["delta"]["R@1"]
    header, *rows = comparison_table(metrics)
    assert [row[0] for row in rows] == [
        *(["off-the-shelf (zero-shot)"] if zero_shot else []),
        "vanilla fine-tuning",
        "StructXLIP, image only",
        "StructXLIP, edges at α = 0",
    ]
    assert all(len(row) == len(header) for row in rows)
    assert rows[-1][-1] == "+0.0 [+0.0, +0.0]"


def test_equal_captions_are_right_answers_of_the_comparison(
    artifacts: Artifacts, params: Params, model: StructXLIP
) -> None:
    """Pairs that are positives in training count as right answers; strict recall stands beside."""
    store, edges = artifacts.store, artifacts.maps
    captions, owner = store.captions_of(store.rows("test"))
    first = [int(np.flatnonzero(owner == image)[0]) for image in range(8)]
    store.caption_ids = store.caption_ids.copy()
    for image in (2, 5):  # pairs 0, 2 and 5 of the split share a caption
        store.caption_ids[captions[first[image]]] = store.caption_ids[captions[first[0]]]
    found = compare(
        model, model, model, store, edges, scorers=Scorers([0.0]), bootstrap_samples=50, seed=0
    )
    assert found.test["base"].groups.tolist() == [0, 1, 0, 3, 4, 0, 6, 7]
    assert found.metrics["test_pairs_sharing_a_caption"] == 3
    most = found.metrics["strict_ceiling"]
    assert set(most) == {"image_to_text/R@1", "text_to_image/R@1"}
    assert all(0 < value < 100 for value in most.values())
    assert f"at most {most['image_to_text/R@1']:.1f} % (I→T)" in ceiling_sentence(found.metrics)
    test = found.test["vanilla"]
    split = test.images, test.texts, test.text_to_image
    related, strict = retrieval_metrics(*split, groups=test.groups), retrieval_metrics(*split)
    assert related != strict
    expected = related | {f"strict/{key}": value for key, value in strict.items()}
    assert found.metrics["vanilla"] == expected
    assert {"R@1", "strict/R@1", "strict/text_to_image/R@10"} < set(found.metrics["delta"])
    assert set(found.metrics["delta"]) == set(found.metrics["delta_image_only"])
    plain, alone = comparison_table(found.metrics), comparison_table(found.metrics, "strict/")
    assert plain[0] == alone[0]
    assert plain[2][1] == f"{related['image_to_text/R@1']:.1f}"
    assert alone[2][1] == f"{strict['image_to_text/R@1']:.1f}"


@pytest.mark.parametrize("sharing", [False, True])
def test_the_comparison_is_that_of_the_models_one_by_one(
    artifacts: Artifacts, params: Params, model: StructXLIP, sharing: bool
) -> None:
    store, edges = artifacts.store, artifacts.maps
    if sharing:
        store.caption_ids = np.zeros_like(store.caption_ids)
    base, vanilla = (
        build_model(params.recipe_settings.model, store, seed=seed, edge_branch=None).eval()
        for seed in (7, 8)
    )
    found = compare(
        base, vanilla, model, store, edges, scorers=Scorers([0.5]), bootstrap_samples=150, seed=3
    )
    wanted = {
        "base": embed_split(base, store, None, "test", 0.0),
        "vanilla": embed_split(vanilla, store, None, "test", 0.0),
        "structxlip_image_only": embed_split(model, store, None, "test", 0.0),
        "structxlip": embed_split(model, store, edges, "test", 0.5),
    }
    assert set(found.test) == set(wanted)
    for name, test in wanted.items():
        np.testing.assert_array_equal(found.test[name].images, test.images)
        np.testing.assert_array_equal(found.test[name].texts, test.texts)
        for strict in (False, True):
            prefix = "strict/" if strict else ""
            for key, value in test.ranks(strict=strict).metrics().items():
                assert found.metrics[name][prefix + key] == value
    owner = wanted["base"].text_to_image
    for delta, arm in (("delta", "structxlip"), ("delta_image_only", "structxlip_image_only")):
        for strict in (False, True):
            before, after = (wanted[name].ranks(strict=strict) for name in ("vanilla", arm))
            gains = bootstrap_delta(before, after, owner, samples=150, seed=3)
            for key, value in gains.items():
                assert found.metrics[delta][("strict/" if strict else "") + key] == value
    facts = {key: found.metrics[key] for key in ("alpha", "test_pairs", "test_captions")}
    assert facts == {"alpha": 0.5, "test_pairs": 8, "test_captions": len(owner)}
    assert found.metrics["test_pairs_sharing_a_caption"] == (8 if sharing else 0)


def test_alpha_is_the_best_by_recall_at_1(
    artifacts: Artifacts, params: Params, model: StructXLIP
) -> None:
    settings, edges = params.recipe_settings.model, artifacts.maps
    store = artifacts.store
    store.splits = np.where(store.splits == "train", "val", store.splits)  # many to tell apart

    def score(other: StructXLIP, alpha: float) -> float:
        val = embed_split(other, store, edges, "val", alpha)
        found = retrieval_metrics(val.images, val.texts, val.text_to_image, groups=val.groups)
        return found["image_to_text/R@1"] + found["text_to_image/R@1"]

    chosen = set()
    for seed in range(6):
        other = build_model(settings, artifacts.store, seed=seed, edge_branch="cnn").eval()
        for alphas in ([0.0, 0.7], [0.0, 0.3, 1.0, 4.0]):
            scores = {alpha: score(other, alpha) for alpha in alphas}
            best = min(alpha for alpha in alphas if scores[alpha] == max(scores.values()))
            found = Scorers(alphas[::-1]).choose(embed_parts(other, store, edges, "val"))
            assert found.scorer == Scorer(best)
            assert found.recall == found.fused == pytest.approx(scores[best] / 2)
            chosen.add(best)
    assert len(chosen) > 1
    plain = build_model(settings, artifacts.store, seed=0, edge_branch=None).eval()
    assert Scorers([0.3, 0.5]).choose(embed_parts(plain, store, edges, "val"))[0] == Scorer()


def test_beta_is_the_best_at_the_chosen_alpha(
    artifacts: Artifacts, params: Params, model: StructXLIP
) -> None:
    store, edges = artifacts.store, artifacts.maps
    store.splits = np.where(store.splits == "train", "val", store.splits)
    scorers, settings = Scorers([0.0, 0.5], [0.0, 0.3, 2.0]), params.recipe_settings.model
    chosen = set()
    for seed in range(6):
        other = build_model(settings, artifacts.store, seed=seed, edge_branch="cnn").eval()
        val = scorers.embed(other, store, edges, "val")
        found, recall, fused = scorers.choose(val)
        assert found.alpha == Scorers([0.0, 0.5]).choose(val).scorer.alpha
        assert fused == recall_at_1(val.scored(Scorer(found.alpha)))
        recalls = {b: recall_at_1(val.scored(Scorer(found.alpha, b))) for b in scorers.betas}
        assert recall == recalls[found.beta] == max(recalls.values())
        assert found.beta == min(b for b, value in recalls.items() if value == recall)
        chosen.add(found.beta)
    assert len(chosen) > 1


def test_a_scorer_for_several_splits_is_the_best_in_the_mean() -> None:
    """Of embeddings in which the edge branch alone is right, or wrong."""
    rng = np.random.default_rng(0)
    right, wrong = (rng.standard_normal((12, 6)).astype(np.float32) for _ in range(2))
    right, wrong = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (right, wrong))
    pairs = np.arange(12)
    by_edges, by_image = (
        Parts(images, right, pairs, pairs, edges)
        for images, edges in ((wrong, right), (right, wrong))
    )
    scorers = Scorers([0.0, 9.0])
    assert scorers.choose(by_edges)[:2] == (Scorer(9.0), 100)
    assert scorers.choose(by_image)[:2] == (Scorer(0.0), 100)
    scorer, recall, _ = scorers.choose(by_edges, by_edges, by_image)
    assert scorer == Scorer(9.0)
    assert recall == pytest.approx((200 + recall_at_1(by_image.scored(scorer))) / 3)


def test_nothing_is_computed_that_no_scorer_reads(artifacts: Artifacts, model: StructXLIP) -> None:
    def parts(scorers: Scorers) -> Parts:
        return scorers.embed(model, artifacts.store, artifacts.maps, "test")

    assert parts(Scorers([0.0])).edges is None
    assert parts(Scorers([0.0, 0.5])).edges is not None
    assert parts(Scorers([0.0, 0.5])).local is None
    assert parts(Scorers([0.0], [0.0, 1.0])).local is not None


def test_the_comparison_chooses_the_scorer(artifacts: Artifacts, model: StructXLIP) -> None:
    store, edges = artifacts.store, artifacts.maps
    scorers = Scorers([0.0, 0.3, 3.0], [0.0, 5.0])
    store.splits = np.where(store.splits == "train", "val", store.splits)
    found = compare(
        model, model, model, store, edges, scorers=scorers, bootstrap_samples=100, seed=0
    )
    scorer, recall, fused_recall = scorers.choose(scorers.embed(model, store, edges, "val"))
    assert (found.metrics["alpha"], found.metrics["beta"]) == (scorer.alpha, scorer.beta)
    assert scorer.beta > 0, "this test needs a reranked model"
    plain = embed_split(model, store, None, "val", 0.0)
    assert found.metrics["validation"] == {
        "vanilla": recall_at_1(plain),
        "structxlip": recall,
        "structxlip_fused": fused_recall,
    }
    fused = embed_split(model, store, edges, "test", scorer.alpha).ranks().metrics()
    assert fused.items() <= found.metrics["structxlip_fused"].items()
    assert found.metrics["structxlip"] != found.metrics["structxlip_fused"]
    names = [row[0] for row in comparison_table(found.metrics)[-2:]]
    assert names == [
        f"StructXLIP, edges at α = {scorer.alpha:g}",
        f"StructXLIP reranked, β = {scorer.beta:g}",
    ]
