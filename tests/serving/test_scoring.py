"""Scores beside their definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.serving import scoring
from structxlip.serving.scoring import Query, Scorer, best, product

RNG = np.random.default_rng(0)


def units(count: int, dim: int = 8) -> np.ndarray:
    rows = RNG.normal(size=(count, dim))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_fused_is_the_cosine_of_fused_embeddings(
    alpha: float, dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "BLOCK", 3)
    images, edges = units(7).astype(dtype), units(7).astype(dtype)
    edges[2] = 0  # without structure
    query = Query(*units(2))
    other = Query(*units(2))
    _, found = Scorer(images, edges).scores([other, query], "fused", alpha)
    assert query.structure is not None
    wanted = query.content + alpha * query.structure
    for row, score in enumerate(found):
        both = images[row].astype(np.float64) + alpha * edges[row].astype(np.float64)
        cosine = both @ wanted / np.linalg.norm(both) / np.linalg.norm(wanted)
        assert score == pytest.approx(cosine, abs=2e-3 if dtype is np.float16 else 1e-5)


def test_content_and_structure_are_apart() -> None:
    images, edges, query = units(5), units(5), Query(*units(2))
    scorer = Scorer(images, edges)
    found = scorer.scores([query], "content", 9.0)[0]
    np.testing.assert_allclose(found, images @ query.content, rtol=1e-5)
    assert query.structure is not None
    found = scorer.scores([query], "structure", 9.0)[0]
    np.testing.assert_allclose(found, edges @ query.structure, rtol=1e-5)
    plain = Scorer(images, None).scores([Query(query.content, None)], "fused", 0.0)[0]
    np.testing.assert_allclose(plain, images @ query.content, rtol=1e-5)


def test_no_rows_have_no_scores() -> None:
    assert product(np.zeros((0, 8), np.float16), units(1)).shape == (1, 0)


@given(st.lists(st.integers(-3, 3), max_size=12), st.integers(1, 14))
def test_best_is_the_head_of_a_stable_sort(values: list[int], k: int) -> None:
    expected = sorted(range(len(values)), key=lambda row: -values[row])[:k]
    assert best(np.array(values, np.float32), k).tolist() == expected
