"""Folders, tables and lists of texts become the embeddings of the model, in their order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.config import Edges
from structxlip.errors import UserError
from structxlip.serving import bulk
from structxlip.serving.bulk import BatchEmbedder, Inputs, embed, find_inputs
from structxlip.serving.embedder import Embedder
from tests.serving.test_embedder import png, save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, Edges(size_px=64))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pictures = tmp_path / "pictures"
    (pictures / "b").mkdir(parents=True)
    for place in range(5):
        name = f"{'b/' * (place % 2)}{place}.png"
        (pictures / name).write_bytes(png((250 - 40 * place, 50 * place, 30)))
    return pictures


def test_a_folder_is_embedded_in_order_and_what_is_no_image_is_told(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "BATCH", 2)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (folder / "2.jpg").write_bytes(b"no image")
    out = tmp_path / "found.parquet"
    embed(find_inputs([folder]), str(model), 0.5, out)
    table = pq.read_table(out)
    names = [
        f"{folder}/{name}" for name in ("0.png", "2.jpg", "2.png", "4.png", "b/1.png", "b/3.png")
    ]
    assert table["image"].to_pylist() == names
    (bad,) = [place for place, error in enumerate(table["error"].to_pylist()) if error]
    assert names.pop(bad).endswith("2.jpg")
    found = [row for row in table["embedding"].to_pylist() if row is not None]
    np.testing.assert_allclose(found, Embedder(model, 0.5).embed_images(names), atol=1e-6)
    assert {file.name for file in tmp_path.iterdir()} == {"pictures", "found.parquet"}


def test_tables_and_lists_of_texts(model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a fish\n\na star\n")
    (tmp_path / "table.csv").write_text(
        "file,words\npictures/0.png,a fish\npictures/4.png,a star\n"
    )
    pq.write_table(pa.table({"words": ["a fish", "a star"]}), tmp_path / "table.parquet")
    (tmp_path / "table.jsonl").write_text('{"words": "a fish"}\n{"words": "a star"}\n')
    for name in ("list.txt", "table.csv", "table.parquet", "table.jsonl"):
        found = find_inputs([tmp_path / name], texts="words")
        assert found == Inputs("text", ["a fish", "a star"]), name
    images = find_inputs([tmp_path / "table.csv"], images="file")
    assert images == Inputs("image", [f"{folder}/{name}.png" for name in (0, 4)])
    table = BatchEmbedder(str(model), None, "text")(["a fish", "a star"])
    expected = Embedder(model, 0.0).embed_texts(["a fish", "a star"])
    np.testing.assert_allclose(table["embedding"].to_pylist(), expected, atol=1e-6)


def test_wrong_inputs_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a fish\n")
    (tmp_path / "table.csv").write_text("file\na.png\n")
    (tmp_path / "empty").mkdir()
    for paths, message in (
        (["none"], "there is no .*none"),
        (["empty"], "hold no image and no text"),
        (["list.txt", "pictures"], "hold both images and texts"),
        (["table.csv"], "is a table; name its column of paths with --images"),
    ):
        with pytest.raises(UserError, match=message):
            find_inputs([tmp_path / path for path in paths])
    with pytest.raises(UserError, match="words"):
        find_inputs([tmp_path / "table.csv"], texts="words")
