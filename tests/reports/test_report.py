"""Parts of the report: which queries are shown, and what its tables say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.config import ArmSettings, Params
from structxlip.evaluation.embedding import Embeddings
from structxlip.evaluation.pointing import NamedChunk
from structxlip.reports.attention import GREEN, Attention
from structxlip.reports.comparison import ranking_table
from structxlip.reports.report import ANSWERS, QUERIES, caption_words, chosen_queries
from structxlip.reports.training_curves import guessing, information_bounds, observations
from tests.reports.test_training_curves import PAIRS, curve


def embeddings(images: int, seed: int) -> Embeddings:
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(images), rng.integers(1, 4, images))
    vectors = rng.standard_normal((images, 8)).astype(np.float32)
    texts = vectors[owner] + rng.standard_normal((len(owner), 8)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, texts, owner, np.arange(images))


@pytest.mark.parametrize("images", [2, 5, 40])
def test_the_best_the_typical_and_the_worst_queries(images: int) -> None:
    test, rows = embeddings(images, 0), 100 + np.arange(images)
    grids = chosen_queries(test, rows)
    assert len({grid["image"] for grid in grids}) == len(grids) <= 3 * QUERIES
    ranks = test.ranks().text_to_image
    by_kind: dict[str, list[int]] = {}
    for grid in grids:
        image = grid["image"] - 100
        text = int(np.flatnonzero(test.text_to_image == image)[grid["caption"]])
        assert grid["rank"] == ranks[text] + 1
        scores = test.texts[text] @ test.images.T
        best = np.argsort(-scores, kind="stable")[:ANSWERS]
        assert grid["answers"] == [(int(100 + i), bool(i == image)) for i in best]
        by_kind.setdefault(grid["kind"], []).append(grid["rank"])
    assert list(by_kind) == ["best", "typical", "worst"][: len(by_kind)] or images < 9
    if images == 40:
        assert [len(found) for found in by_kind.values()] == [QUERIES] * 3
        assert max(by_kind["best"]) == 1
        assert max(by_kind["worst"]) == ranks.max() + 1
        middle = np.median(ranks) + 1
        assert all(abs(rank - middle) <= 3 for rank in by_kind["typical"])


def test_words_are_counted_in_the_order_of_the_captions(tmp_path: Path) -> None:
    table = pa.table(
        {"id": ["a", "a", "b", "c"], "text": ["one", "one two", "x y z", "four words are here"]}
    )
    pq.write_table(table, tmp_path / "part-00000.parquet")
    assert caption_words(tmp_path, np.array(["a", "c"]), 3).tolist() == [1, 2, 4]
    with pytest.raises(AssertionError, match="does not fit"):
        caption_words(tmp_path, np.array(["a", "c"]), 4)


def test_measures_of_the_whole_ranking_are_a_table() -> None:
    measures = {
        f"{way}/{name}": value
        for way in ("image_to_text", "text_to_image")
        for name, value in (
            ("median_rank", 3.0),
            ("MRR", 40.0),
            ("mAP@10", 30.0),
            ("nDCG@10", 35.0),
        )
    }
    models = ("base", "vanilla", "structxlip_image_only", "structxlip")
    header, *rows = ranking_table({"alpha": 0.3} | dict.fromkeys(models, measures))
    assert header[1:5] == ["I→T median rank", "I→T MRR", "I→T mAP@10", "I→T nDCG@10"]
    assert [row[0] for row in rows][-1] == "StructXLIP, edges at α = 0.3"
    assert all(row[1:5] == row[5:] == ["3.0", "40.0", "30.0", "35.0"] for row in rows)


@pytest.mark.parametrize("kind", ["projected_l2", "cosine"])
def test_independent_embeddings_give_the_losses_of_guessing(params: Params, kind: str) -> None:
    """The value of guessing is what random unit vectors give."""
    arms = params.recipe_settings.arms
    arm = ArmSettings.model_validate({"edge_image": {"kind": kind}})
    recipe = params.recipe_settings.model_copy(
        update={"arms": arms.model_copy(update={"structxlip": arm})}
    )
    params = params.model_copy(update={"recipes": {params.recipe: recipe}})
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 400, 256))
    one /= np.linalg.norm(one, axis=1, keepdims=True)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    cosine = (one * other).sum(axis=1)
    value = ((one - other) ** 2).sum(axis=1) if kind == "projected_l2" else 1 - cosine
    guess = guessing(params, 400)
    assert guess["edge_image_loss"] == pytest.approx(value.mean(), abs=0.02)
    logits = 0 * one @ other.T  # no preference
    log_softmax = np.diag(logits) - np.log(np.exp(logits).sum(axis=1))
    assert guess["region_chunk_loss"] == pytest.approx(-log_softmax.mean())


def test_a_structural_loss_that_guesses_is_told(params: Params) -> None:
    history = curve([40, 40]).assign(region_chunk_loss=[2.5, 2.48], edge_image_loss=[1.0, 1.99])
    found = observations(params, PAIRS, {"structxlip": history})
    assert any("region_chunk_loss ends at 2.48, and a guess among the 12" in one for one in found)
    assert any("edge_image_loss ends at 1.99, and the mean over embeddings" in one for one in found)
    learned = curve([40, 40]).assign(region_chunk_loss=[2.5, 1.0], edge_image_loss=[1.0, 0.5])
    assert len(observations(params, PAIRS, {"structxlip": learned})) == 1


def test_bounds_on_information(params: Params) -> None:
    histories = {
        "vanilla": pd.DataFrame({"clip_loss": [3.0, 1.0]}),
        "structxlip": pd.DataFrame({"clip_loss": [3.0, 1.5], "edge_text_loss": [9.0, 8.0]}),
    }
    _, *rows = information_bounds(params, 100, histories)
    assert rows == [
        ["vanilla", "image and caption", "3.61", "4.61"],
        ["structxlip", "image and caption", "3.11", "4.61"],
        ["structxlip", "edge map and structural caption", "0.00", "4.61"],
    ]


def test_attention_is_drawn_on_the_picture() -> None:
    boxes = [(0.0, 0.0, 0.5, 1.0)] * 30
    chunks = [
        NamedChunk(number // 2, number, f"chunk {number}", box) for number, box in enumerate(boxes)
    ]
    weights = np.full((30, 4), 0.1, np.float32)
    weights[:, 3] = 0.7
    attention = Attention(chunks, weights)
    shown = attention.examples()
    assert len(shown) == 8
    assert len({chunks[number].row for number in shown}) == 8
    assert Attention(chunks[:4], weights[:4]).examples() == [0, 2]
    drawn = attention.draw(0, np.full((40, 60, 3), 200, np.uint8))
    assert drawn.shape == (40, 60, 3)
    assert drawn[30, 45].tolist() == [200, 200, 200]  # the patch that it attends to most
    np.testing.assert_allclose(drawn[10, 45], 200 * (0.25 + 0.75 / 7), atol=1)
    for y, x in ((0, 0), (39, 29), (20, 0), (20, 29)):
        assert drawn[y, x].tolist() == list(GREEN)
