"""The side-by-side protocol: alpha from validation, the same test split for every model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from structxlip.config import Params
from structxlip.evaluation import protocol
from structxlip.evaluation.protocol import choose_alpha, compare, embed_split
from structxlip.evaluation.retrieval import retrieval_metrics
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.reports.comparison import comparison_table
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
    monkeypatch.setattr(protocol, "BLOCK", 5)
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


def test_alpha_comes_from_validation_alone(
    artifacts: Artifacts, model: StructXLIP, monkeypatch: pytest.MonkeyPatch
) -> None:
    recall = {0.0: 20.0, 0.1: 50.0, 0.3: 50.0, 1.0: 10.0}
    seen: list[str] = []

    class Found:
        def __init__(self, alpha: float) -> None:
            self.alpha = alpha

        def ranks(self) -> Found:
            return self

        def recall(self, ks: tuple[int, ...]) -> dict[str, float]:
            return {"image_to_text/R@1": recall[self.alpha], "text_to_image/R@1": 30.0}

    def embed(_model: object, _store: object, _edges: object, split: str, alpha: float) -> Found:
        seen.append(split)
        return Found(alpha)

    monkeypatch.setattr(protocol, "embed_split", embed)
    alphas = [1.0, 0.3, 0.1, 0.0]
    assert choose_alpha(model, artifacts.store, artifacts.maps, alphas) == 0.1
    assert set(seen) == {"val"}


def test_models_stand_side_by_side(artifacts: Artifacts, params: Params, model: StructXLIP) -> None:
    vanilla = build_model(
        params.recipe_settings.model, artifacts.store, seed=params.seed, edge_branch=None
    ).eval()
    metrics = compare(
        vanilla,
        vanilla,
        model,
        artifacts.store,
        artifacts.maps,
        alphas=[0.0],
        bootstrap_samples=100,
        seed=0,
    ).metrics
    # Untrained, both arms have the same heads: without the edge branch they are the same model.
    assert metrics["alpha"] == 0
    assert metrics["base"] == metrics["vanilla"] == metrics["structxlip"]
    assert metrics["delta"]["R@1"] == {"mean": 0, "low": 0, "high": 0}
    assert metrics["test_pairs"] == 8
    # The first and the last pair share a caption, but only one of them is in the test split.
    assert metrics["test_pairs_sharing_a_caption"] == 0
    for key in ("image_to_text/R@1", "text_to_image/R@10"):
        assert metrics["vanilla"][f"strict/{key}"] == metrics["vanilla"][key]
    assert metrics["delta"]["strict/R@1"] == metrics["delta"]["R@1"]
    header, *rows = comparison_table(metrics)
    assert [row[0] for row in rows] == [
        "base (before fine-tuning)",
        "vanilla fine-tuning",
        "StructXLIP, image only",
        "StructXLIP, edges at α = 0",
    ]
    assert all(len(row) == len(header) for row in rows)
    assert rows[3][-1] == "+0.0 [+0.0, +0.0]"


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
    found = compare(model, model, model, store, edges, alphas=[0.0], bootstrap_samples=50, seed=0)
    assert found.test["base"].groups.tolist() == [0, 1, 0, 3, 4, 0, 6, 7]
    assert found.metrics["test_pairs_sharing_a_caption"] == 3
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
    found = compare(base, vanilla, model, store, edges, alphas=[0.5], bootstrap_samples=150, seed=3)
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
            assert choose_alpha(other, store, edges, alphas) == best
            chosen.add(best)
    assert len(chosen) > 1
    plain = build_model(settings, artifacts.store, seed=0, edge_branch=None).eval()
    assert choose_alpha(plain, store, edges, [0.3, 0.5]) == 0.0
    assert choose_alpha(model, store, edges, [0.3]) == 0.3


def test_the_comparison_chooses_alpha(artifacts: Artifacts, model: StructXLIP) -> None:
    store, edges, alphas = artifacts.store, artifacts.maps, [0.0, 0.3, 3.0]
    found = compare(model, model, model, store, edges, alphas=alphas, bootstrap_samples=100, seed=0)
    assert found.metrics["alpha"] == choose_alpha(model, store, edges, alphas)
    of_val = embed_split(model, store, edges, "val", found.metrics["alpha"]).ranks()
    plain = embed_split(model, store, None, "val", 0.0).ranks()
    assert found.metrics["validation"] == {
        "vanilla": mean_recall(plain.recall((1,))),
        "structxlip": mean_recall(of_val.recall((1,))),
    }
