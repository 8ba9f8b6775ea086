"""A model that was trained on maps of the dataset itself: it says so, and reads no others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException

from structxlip.config import Edges, load_params
from structxlip.cues import given_edges
from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.features.edge_maps import cues_of
from structxlip.serving.embedder import Embedder
from structxlip.serving.package import write_package
from structxlip.serving.pyfunc_model import StructXLIPModel
from structxlip.stages.edges import edges
from structxlip.tracking.scoring import score_package
from structxlip.tracking.split import read_test_split
from tests.operation import ROOT
from tests.serving.test_embedder import png, save_model

IMAGE = png((255, 255, 255))


def drawn() -> bytes:
    lines = np.zeros((64, 64), np.uint8)
    cv2.circle(lines, (32, 32), 20, 255, 3)
    return cv2.imencode(".png", lines)[1].tobytes()


MAP = drawn()


def embedder(folder: Path, cues: list[str], alpha: float = 0.5) -> Embedder:
    save_model(folder, Edges(size_px=64))
    path = folder / "preprocess.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"cues": cues}))
    return Embedder(folder, alpha)


def registered(folder: Path) -> StructXLIPModel:
    """A model that was trained on given maps, as MLflow loads it."""
    embedder(folder, ["given"])
    settings = folder / "settings.json"
    settings.write_text('{"alpha": 0.5}')
    model = StructXLIPModel()
    model.load_context(SimpleNamespace(artifacts={"model": folder, "settings": settings}))
    return model


def test_the_given_map_is_what_the_model_sees(tmp_path: Path) -> None:
    model = embedder(tmp_path, ["given"])
    pixels = torch.from_numpy(model.image_encoder.encode([decode_rgb(IMAGE)]))
    maps = torch.from_numpy(given_edges(decode_rgb(MAP), 64)[None, None].astype(np.float32))
    expected = model.model.embed_images(pixels, maps, 0.5).numpy()
    np.testing.assert_allclose(model.embed_images([IMAGE], [MAP]), expected, atol=1e-6)
    assert not np.allclose(embedder(tmp_path, ["canny"]).embed_images([IMAGE]), expected, atol=1e-3)


def test_a_map_of_another_kind_is_refused(tmp_path: Path) -> None:
    given = embedder(tmp_path, ["given"])
    with pytest.raises(UserError, match=r"^image 1 needs its edge map: .* or use alpha 0$"):
        given.embed_images([IMAGE, IMAGE], [MAP, None])
    with pytest.raises(UserError, match="image 0 needs its edge map"):
        given.embed_images([IMAGE])
    with pytest.raises(UserError, match="there are 1 edge maps for 2 images"):
        given.embed_images([IMAGE, IMAGE], [MAP])
    with pytest.raises(BadImage, match="corrupt_image: image 1: its edge map: "):
        given.embed_images([IMAGE, IMAGE], [MAP, b"no image"])
    canny = embedder(tmp_path, ["canny"])
    with pytest.raises(UserError, match="image 1 brings an edge map, but the model reads maps of"):
        canny.embed_images([IMAGE, IMAGE], [None, MAP])


def test_who_was_trained_on_both_kinds_reads_both(tmp_path: Path) -> None:
    both = embedder(tmp_path, ["canny", "given"]).embed_images([IMAGE, IMAGE], [MAP, None])
    assert not np.allclose(both[0], both[1], atol=1e-3)


def test_without_edges_no_map_is_needed_or_read(tmp_path: Path) -> None:
    plain = embedder(tmp_path, ["given"], alpha=0.0)
    np.testing.assert_allclose(
        plain.embed_images([IMAGE]), plain.embed_images([IMAGE], [MAP]), atol=1e-6
    )


def test_the_registered_model_takes_the_map_with_the_row(tmp_path: Path) -> None:
    model = registered(tmp_path)
    expected = model.embedder.embed_images([IMAGE], [MAP])
    rows = pd.DataFrame({"text": ["a dog", None], "image": [None, IMAGE], "edges": [None, MAP]})
    found = model.predict(None, rows)["embedding"]
    np.testing.assert_allclose(found[1], expected[0], atol=1e-6)
    with pytest.raises(MlflowException, match="row 1 needs its edge map: the model was trained"):
        model.predict(None, rows.drop(columns="edges"))


def test_the_data_says_which_cues_were_trained_on_and_the_gate_sends_the_maps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pairs = Path("data/scenes/pairs")
    pairs.mkdir(parents=True)
    write_pairs(
        [
            RawPair(
                f"p{i}",
                lambda i=i: png((20 * i, 255, 0)),  # type: ignore[misc]
                [f"a square of colour {i}"],
                group=f"p{i}",
                source="test",
                split=("train", "val", "test")[i % 3],
                read_edges=None if i == 3 else drawn,
            )
            for i in range(6)
        ],
        pairs,
        shard_bytes=2**20,
        max_bad_fraction=0,
        split_for=lambda pair: pair.split or "train",
    )
    edges(load_params(ROOT / "params.yaml"), "scenes")
    assert cues_of(Path("data/scenes/edges")) == ["given", "gradient"]
    test = read_test_split(pairs)
    assert test.edges == [MAP, MAP]
    (tmp_path / "model").mkdir()
    embedder(tmp_path / "model", ["given"])
    write_package(tmp_path / "model", 0.5, tmp_path / "package")
    scored = score_package(tmp_path / "package", test)  # without the maps the model refuses
    assert scored.images.shape[0] == scored.texts.shape[0] == 2
    assert scored.latency_ms > 0
