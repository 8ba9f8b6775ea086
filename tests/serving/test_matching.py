"""Copies in other colours are found, other pictures are not; labels are given by their words."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from structxlip.config import Edges
from structxlip.errors import UserError
from structxlip.serving.classification import classify, label_embeddings, read_labels
from structxlip.serving.embedder import Embedder
from structxlip.serving.index_files import write_index
from structxlip.serving.matching import default_threshold, find_matches
from structxlip.serving.search import Searcher
from tests.serving.test_embedder import png, save_model


def shape(name: int, colour: tuple[int, int, int]) -> np.ndarray:
    picture = np.zeros((64, 64, 3), np.uint8)
    if name % 2:
        cv2.circle(picture, (20 + 4 * name, 30), 14, colour, -1)
    else:
        cv2.rectangle(picture, (6 + 5 * name, 8), (30 + 3 * name, 52), colour, -1)
    return picture


@pytest.fixture
def searcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searcher:
    """Six shapes, as a model with random weights sees them."""
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model", Edges(size_px=64))
    model = Embedder(tmp_path / "model", 0.5)
    parts = [model.embed_parts(shape(name, (255, 255, 255))) for name in range(6)]
    content, edges = (np.stack([part[side] for part in parts]) for side in (0, 1))
    names = [f"shape-{name}" for name in range(6)]
    table = pa.table({"id": names, "split": ["test"] * 6, "captions": [[n] for n in names],
                      "width": [64] * 6, "height": [64] * 6, "thumbnail": [b""] * 6})  # fmt: skip
    settings = {"model": "model", "digest": model.digest, "alpha": 0.5, "exact_below": 100}
    folder = tmp_path / "indexes/shapes"
    folder.mkdir(parents=True)
    arrays = {"content": content, "structure": edges, "fused": model_fused(content, edges)}
    half = {name: rows.astype(np.float16) for name, rows in arrays.items()}
    write_index(folder, settings=settings, table=table, arrays=half)
    return Searcher("shapes")


def model_fused(content: np.ndarray, edges: np.ndarray) -> np.ndarray:
    fused = content + 0.5 * edges
    return np.asarray(fused / np.linalg.norm(fused, axis=1, keepdims=True))


def test_a_copy_in_other_colours_is_found(
    searcher: Searcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "uploads"
    (folder / "deep").mkdir(parents=True)
    cv2.imwrite(str(folder / "deep/copy.png"), shape(3, (230, 240, 250)))
    (folder / "plain.png").write_bytes(png((0, 0, 0)))
    (folder / "broken.jpg").write_bytes(b"no image")
    found = list(find_matches(searcher, folder, 0.9, "structure"))
    assert [(match.file, match.id) for match in found] == [("deep/copy.png", "shape-3")]
    said = capsys.readouterr()
    assert "broken.jpg is not compared" in said.out + said.err
    assert "plain.png is not compared" in said.out + said.err
    assert list(find_matches(searcher, folder, 1.01, "structure")) == []
    with pytest.raises(UserError, match="holds no pictures"):
        list(find_matches(searcher, tmp_path / "model", None, "structure"))


@pytest.mark.parametrize("by", ["structure", "content", "fused"])
def test_the_default_threshold_is_of_the_nearest_other_image(searcher: Searcher, by: str) -> None:
    rows = searcher.index.arrays[by].astype(np.float32)
    nearest = [
        max(float(rows[i] @ rows[j]) for j in range(len(rows)) if j != i) for i in range(len(rows))
    ]
    found = default_threshold(searcher.index, by)  # type: ignore[arg-type]
    assert found == pytest.approx(np.quantile(nearest, 0.99), abs=1e-5)


def test_the_label_is_that_of_the_nearest_words(searcher: Searcher) -> None:
    model, labels = searcher.embedder, ["circle", "rectangle", "dog"]
    words = label_embeddings(model, labels)
    np.testing.assert_allclose(np.linalg.norm(words, axis=1), 1, atol=1e-5)
    fused = searcher.index.arrays["fused"].astype(np.float32)
    expected = [int(np.argmax([row @ word for word in words])) for row in fused]
    assert classify(searcher.index, model, labels).tolist() == expected


def test_labels_are_lines_or_a_table(tmp_path: Path) -> None:
    lines = tmp_path / "labels.txt"
    lines.write_text("a dog\n\n a cat \na dog\n")
    assert read_labels(lines) == (["a dog", "a cat"], {})
    table = tmp_path / "labels.csv"
    table.write_text("id,label\n1,b\n2,a\n3,\n")
    assert read_labels(table) == (["a", "b"], {"1": "b", "2": "a"})
    table.write_text("id,name\n1,b\n")
    with pytest.raises(UserError, match="needs the columns id and label"):
        read_labels(table)
    lines.write_text(json.dumps("one"))
    with pytest.raises(UserError, match="names 1 labels; two or more are needed"):
        read_labels(lines)
    with pytest.raises(UserError, match="cannot be read"):
        read_labels(tmp_path / "nowhere.txt")
