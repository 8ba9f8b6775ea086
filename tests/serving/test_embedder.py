"""The whole model from bytes and texts, as it is served."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from structxlip.config import Edges
from structxlip.cues import ConfiguredCue
from structxlip.data.images import decode_rgb
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.models.heads import HeadsConfig, HeadsOnTowers
from structxlip.serving import embedder as embedder_module
from structxlip.serving.embedder import Embedder
from tests.networks import write_network

CONFIG = HeadsConfig(
    image_tower="packaged:efficientnet-lite0",
    text_tower="packaged:all-minilm-l6-v2",
    image_px=64,
    max_tokens=32,
    image_dim=1280,
    text_dim=384,
    embed_dim=16,
    hidden_dim=16,
    dropout=0.0,
    aligned=False,
    edges="cnn",
)


def save_model(directory: Path, edges: Edges) -> HeadsOnTowers:
    torch.manual_seed(0)
    model = HeadsOnTowers(CONFIG).eval()
    model.save(directory)
    (directory / "preprocess.json").write_text(json.dumps({"edges": edges.model_dump()}))
    return model


def png(rgb: tuple[int, int, int]) -> bytes:
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:40, 8:40] = rgb[::-1]
    return cv2.imencode(".png", image)[1].tobytes()


def test_a_jpeg_has_the_edge_map_that_the_stage_stores(tmp_path: Path) -> None:
    rough = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
    smooth = cv2.resize(rough, (400, 300), interpolation=cv2.INTER_CUBIC)
    data = cv2.imencode(".jpg", smooth)[1].tobytes()
    edges = Edges(size_px=64)
    save_model(tmp_path, edges)
    embedder = Embedder(tmp_path, alpha=0.5)
    stored = ConfiguredCue(edges)(decode_rgb(data))
    pixels = torch.from_numpy(embedder.image_encoder.encode([decode_rgb(data)]))
    maps = torch.from_numpy(stored[None, None].astype(np.float32))
    expected = embedder.model.embed_images(pixels, maps, 0.5).numpy()
    np.testing.assert_allclose(embedder.embed_images([data]), expected, atol=1e-6)


def test_images_and_texts_become_unit_embeddings(tmp_path: Path) -> None:
    model = save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.5)
    images = embedder.embed_images([png((255, 255, 255)), png((0, 0, 0))])
    np.testing.assert_allclose(np.linalg.norm(images, axis=1), 1, atol=1e-5)
    plain = Embedder(tmp_path, alpha=0.0).embed_images([png((255, 255, 255)), png((0, 0, 0))])
    assert not np.allclose(images[0], plain[0], atol=1e-3)
    np.testing.assert_allclose(images[1], plain[1], atol=1e-5)  # no edges in a black image
    texts = embedder.embed_texts(["a square", "a square"])
    np.testing.assert_allclose(texts[0], texts[1], atol=1e-5)
    pooled, _ = embedder.text_encoder.encode(["a square"])
    expected = normalize(model.text_head(torch.from_numpy(pooled)), dim=-1).detach()
    np.testing.assert_allclose(texts[:1], expected, atol=1e-5)
    with pytest.raises(BadImage, match="image 1: "):
        embedder.embed_images([png((0, 0, 0)), b"no image"])


def test_more_than_a_block_is_embedded_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.5)
    images = [png((40 * i, 0, 0)) for i in range(5)]
    whole = embedder.embed_images(images), embedder.embed_texts(["a", "b c", "d", "e", "f"])
    monkeypatch.setattr(embedder_module, "BLOCK", 2)
    for found, expected in zip(
        (embedder.embed_images(images), embedder.embed_texts(["a", "b c", "d", "e", "f"])),
        whole,
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=0.01)  # bf16 on some machines
    with pytest.raises(BadImage, match="image 3: "):
        embedder.embed_images([*images[:3], b"no image"])


def test_nothing_is_embedded_as_nothing(tmp_path: Path) -> None:
    save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.5)
    for found in (embedder.embed_images([]), embedder.embed_texts([]), embedder.embed_texts(())):
        assert (found.shape, found.dtype) == ((0, 16), np.float32)


def test_what_is_no_list_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.0)
    image = png((0, 0, 0))
    calls = [
        (embedder.embed_texts, "a dog", "a list of texts, not one str"),
        (embedder.embed_texts, None, "a list of texts, not one NoneType"),
        (embedder.embed_texts, {"text": "a dog"}, "a list of texts, not one dict"),
        (embedder.embed_texts, ["a dog", None], "number 1 is of type NoneType"),
        (embedder.embed_texts, [["a dog"]], "number 0 is of type list"),
        (embedder.embed_images, image, "images as bytes, not one bytes"),
        (embedder.embed_images, "dog.jpg", "images as bytes, not one str"),
        (embedder.embed_images, [image, "dog.jpg"], "number 1 is of type str"),
        (embedder.embed_images, np.zeros((8, 8, 3), np.uint8), "number 0 is of type ndarray"),
    ]
    for call, given, message in calls:
        with pytest.raises(UserError, match=message):
            call(given)  # type: ignore[operator]
    texts = np.array(["a dog", "a cat"])
    assert embedder.embed_texts(texts).shape == (2, 16)  # type: ignore[arg-type]


def test_a_learned_cue_is_read_from_the_folder_of_the_model(tmp_path: Path) -> None:
    edges = Edges(cue="learned", weights="where/it/was/trained/red.onnx", size_px=64)
    save_model(tmp_path, edges)
    write_network(tmp_path / "red.onnx")
    fused, plain = (
        Embedder(tmp_path, alpha).embed_images([png((255, 0, 0)), png((0, 255, 0))])
        for alpha in (0.5, 0.0)
    )
    assert not np.allclose(fused[0], plain[0], atol=1e-3)
    np.testing.assert_allclose(fused[1], plain[1], atol=1e-5)  # nothing red, no edges
