"""The index: what is written is found, exactly and by a graph, and is taken again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from structxlip.errors import UserError
from structxlip.serving.earlier import Earlier
from structxlip.serving.image_index import Asked, ImageIndex
from structxlip.serving.index_files import write_index
from structxlip.serving.scoring import By, Query
from tests.serving.test_scoring import units

ALPHA = 0.5


def write(folder: Path, count: int = 30, *, edges: bool = True, exact_below: int = 100) -> Any:
    images, lines = units(count, 16), units(count, 16)
    both = images + ALPHA * lines
    arrays: dict[By, Any] = {"content": images.astype(np.float16)}
    if edges:
        fused = both / np.linalg.norm(both, axis=1, keepdims=True)
        arrays |= {"fused": fused.astype(np.float16), "structure": lines.astype(np.float16)}
    table = pa.table(
        {
            "id": [f"p{i}" for i in range(count)],
            "split": [("train", "test")[i % 2] for i in range(count)],
            "captions": [[f"caption {i}"] for i in range(count)],
            "width": [8] * count,
            "height": [8] * count,
            "key": [f"k{i}" for i in range(count)],
            "thumbnail": [f"jpeg {i}".encode() for i in range(count)],
        }
    )
    settings = {"model": "models/toys/structxlip", "digest": "d", "alpha": ALPHA if edges else 0.0}
    folder.mkdir()
    write_index(
        folder, settings=settings | {"exact_below": exact_below}, table=table, arrays=arrays
    )
    return images, lines


def test_an_image_finds_itself_and_who_asks_for_others_does_not_get_it(tmp_path: Path) -> None:
    write(tmp_path / "toys")
    index = ImageIndex(tmp_path / "toys")
    for by in ("content", "fused", "structure"):
        first, *others = index.search(index.query("p7"), by=by, k=5)
        assert (first.id, first.captions, first.split) == ("p7", ["caption 7"], "test")
        assert first.score == pytest.approx(1, abs=2e-3)
        assert index.search(index.query("p7"), by=by, k=4, without="p7") == others
    assert len(index.search(index.query("p7"), k=99)) == len(index) == 30
    assert index.thumbnail("p7") == b"jpeg 7"


def test_a_filter_leaves_only_its_split(tmp_path: Path) -> None:
    images, _ = write(tmp_path / "toys")
    index = ImageIndex(tmp_path / "toys")
    found = index.search(Query.of_one(images[4]), by="content", k=30, split="test")
    expected = sorted(range(1, 30, 2), key=lambda row: -float(images[row] @ images[4]))
    assert [hit.id for hit in found] == [f"p{row}" for row in expected]


def test_a_graph_finds_what_comparing_all_finds(tmp_path: Path) -> None:
    images, lines = write(tmp_path / "toys", 400, exact_below=100)
    approximate = ImageIndex(tmp_path / "toys")
    exact = ImageIndex(tmp_path / "toys")
    exact.settings["exact_below"] = 1000
    assert approximate.is_approximate
    assert not exact.is_approximate
    shared = 0
    for row in range(20):
        query = Query(images[row], lines[row])
        for by in ("content", "fused", "structure"):
            found, all_found = (
                {hit.id for hit in index.search(query, by=by)} for index in (approximate, exact)
            )
            assert len(found) == 10
            shared += len(found & all_found)
        for settings in ({"alpha": 1.0}, {"split": "test"}):  # for which there is no graph
            hits = [index.search(query, **settings) for index in (approximate, exact)]  # type: ignore[arg-type]
            assert [hit.id for hit in hits[0]] == [hit.id for hit in hits[1]]
    assert shared >= 0.98 * 600


def test_wrong_questions_are_one_sentence(tmp_path: Path) -> None:
    images, _ = write(tmp_path / "toys")
    write(tmp_path / "plain", edges=False)
    index, query = ImageIndex(tmp_path / "toys"), Query.of_one(images[0])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"by": "colour"}, "by is one of content, fused, structure, not 'colour'"),
        ({"k": 0}, "k is at least 1"),
        ({"split": "holdout"}, "no image is in the split 'holdout'; splits are: test, train"),
        ({"alpha": float("nan")}, "alpha is a weight of 0 or more"),
    ]
    for settings, message in wrong:
        with pytest.raises(UserError, match=message):
            index.search(query, **settings)
    with pytest.raises(UserError, match=r"has no image '\.\./p1'"):
        index.query("../p1")
    with pytest.raises(UserError, match="has no structure; search by content"):
        index.search(Query(images[0], np.zeros(16, np.float32)), by="structure")
    plain = ImageIndex(tmp_path / "plain")
    assert plain.search(query, k=1)[0].id == plain.search(query, k=1, by="content")[0].id
    for settings in ({"by": "structure"}, {"alpha": 0.5}):
        with pytest.raises(UserError, match="has no edge branch"):
            plain.search(query, **settings)
    with pytest.raises(UserError, match="holds no index; run `dvc repro index@none`"):
        ImageIndex(tmp_path / "none")


def test_rows_of_an_earlier_index_are_taken_again(tmp_path: Path) -> None:
    write(tmp_path / "toys", 6)
    index = ImageIndex(tmp_path / "toys")
    asked: list[list[int]] = []

    def make(rows: np.ndarray) -> dict[By, np.ndarray]:
        asked.append(rows.tolist())
        return {"content": np.full((len(rows), 16), 7.0, np.float32)}

    keys = ["k5", "new", "k0"]
    earlier = Earlier(tmp_path / "toys", "d", ALPHA, reranks=False)
    found = earlier.take(keys, make)["content"]
    np.testing.assert_array_equal(found[[0, 2]], index.arrays["content"][[5, 0]])
    assert (found[1] == 7).all()
    assert (earlier.thumbnail("k5"), earlier.thumbnail("new")) == (b"jpeg 5", None)
    nothing = earlier.take(["k1"], lambda rows: {"content": np.zeros((len(rows), 3), np.float32)})
    np.testing.assert_array_equal(nothing["content"], index.arrays["content"][[1]])
    for other in (
        Earlier(tmp_path / "toys", "other", ALPHA, reranks=False),
        Earlier(tmp_path / "toys", "d", ALPHA, reranks=True),
        Earlier(tmp_path / "none", "d", 0.0, reranks=False),
    ):
        assert (other.take(keys, make)["content"] == 7).all()
    assert asked == [[1], [0, 1, 2], [0, 1, 2], [0, 1, 2]]


def test_the_first_answers_are_reranked(tmp_path: Path) -> None:
    images, _ = write(tmp_path / "toys", 200)
    index = ImageIndex(tmp_path / "toys")
    query, late = Query.of_one(images[4]), np.linspace(1, -1, 200, dtype=np.float32)
    scores = index.arrays["content"].astype(np.float32) @ query.content
    order = [hit.id for hit in index.search(query, by="content", k=200)]
    plain = {name: scores[index.row(name)] for name in order}
    found = index.search(query, by="content", k=200, late=lambda rows: late[rows], beta=0.5)
    first = list(plain)[:128]
    both = {name: plain[name] + 0.5 * late[index.row(name)] for name in first}
    wanted = sorted(first, key=lambda name: -both[name]) + list(plain)[128:]
    assert [hit.id for hit in found] == wanted
    assert (
        index.search(query, by="content", k=5, late=lambda rows: late[rows], beta=0.5) == found[:5]
    )


@pytest.mark.parametrize("exact_below", [1000, 100])
def test_searches_together_are_answered_as_each_alone(tmp_path: Path, exact_below: int) -> None:
    images, lines = write(tmp_path / "toys", 300, exact_below=exact_below)
    index = ImageIndex(tmp_path / "toys")
    late = np.linspace(1, -1, 300, dtype=np.float32)
    asked = [
        Asked(
            Query(images[row], lines[row]),
            by=by,
            k=3 + row,
            alpha=(None, 0.1)[row % 2],
            split=(None, "test")[row % 3 == 0],
            without=f"p{row}",
            late=(lambda rows: late[rows]) if row % 4 == 0 else None,
            beta=0.5,
        )
        for row in range(8)
        for by in ("content", "fused", "structure")
    ]
    for one, found in zip(asked, index.search_all(asked), strict=True):
        alone = index.search_all([one])[0]
        assert [hit.id for hit in found] == [hit.id for hit in alone]
        assert len(found) == one.k
        assert one.without not in {hit.id for hit in found}
