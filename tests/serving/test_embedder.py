"""The whole model from bytes and texts, as it is served."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from structxlip.config import Edges
from structxlip.cues import ConfiguredCue, branch_input, drawing
from structxlip.data.images import decode_rgb
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.models.heads import HeadsConfig, HeadsOnTowers
from structxlip.models.structxlip import model_digest
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
    directory.mkdir(exist_ok=True)
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
        (embedder.embed_images, image, "or arrays, not one bytes"),
        (embedder.embed_images, "dog.jpg", "or arrays, not one str"),
        (embedder.embed_images, [image, 7], "number 1 is of type int"),
        (embedder.embed_images, [image, "dog.jpg"], "image 1: cannot be read .*dog.jpg"),
        (embedder.embed_images, ["a\0b"], "image 0: cannot be read"),
        (embedder.embed_images, np.zeros((8, 8, 3), np.uint8), "or arrays, not one ndarray"),
        (embedder.embed_images, [np.zeros((8, 8))], r"image 0: an array must be uint8 .* float64"),
        (embedder.embed_images, [np.zeros((0, 8), np.uint8)], r"image 0: .* not uint8 \[0, 8\]"),
        (embedder.embed_edges, image, "embed_edges takes a list"),
        (embedder.embed_edges, [np.zeros((8, 8), np.uint8)], "edge map 0 has nothing on it"),
    ]
    for call, given, message in calls:
        with pytest.raises(UserError, match=message):
            call(given)  # type: ignore[operator]
    texts = np.array(["a dog", "a cat"])
    assert embedder.embed_texts(texts).shape == (2, 16)  # type: ignore[arg-type]


def test_an_image_of_any_form_is_the_same_image(tmp_path: Path) -> None:
    save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.5)
    data = png((250, 120, 30))
    file = tmp_path / "image.png"
    file.write_bytes(data)
    rgb = decode_rgb(data)
    forms = [data, file, str(file), Image.open(file), Image.fromarray(rgb), rgb]
    found = embedder.embed_images(forms)
    np.testing.assert_allclose(found, np.repeat(found[:1], len(forms), axis=0), atol=1e-5)
    grey = np.full((20, 30), 90, np.uint8)
    np.testing.assert_allclose(*embedder.embed_images([grey, Image.fromarray(grey)]), atol=1e-5)
    batch = np.stack([rgb, 255 - rgb])  # an array of images is a list of them
    np.testing.assert_allclose(embedder.embed_images(batch)[0], found[0], atol=1e-5)


def test_lines_alone_are_embedded_whatever_their_colour(tmp_path: Path) -> None:
    model = save_model(tmp_path, Edges(size_px=64))
    embedder = Embedder(tmp_path, alpha=0.0)
    lines = np.zeros((64, 64), np.uint8)
    lines[10, 10:50] = lines[10:50, 30] = 255
    dark, bright = embedder.embed_edges([255 - lines, lines])
    np.testing.assert_allclose(dark, bright, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(dark), 1, atol=1e-6)
    read = torch.from_numpy((lines > 0)[None, None].astype(np.float32))
    np.testing.assert_allclose(dark, model.embed_edges(read)[0].numpy(), atol=1e-6)
    assert embedder.embed_edges([]).shape == (0, 16)


def test_the_soft_map_of_an_image_is_embedded_as_the_model_learned_it(tmp_path: Path) -> None:
    model = save_model(tmp_path, Edges(cue="gradient", size_px=64))
    embedder = Embedder(tmp_path, alpha=0.0)
    edges = embedder.cue(decode_rgb(png((255, 255, 255))))
    expected = model.embed_edges(torch.from_numpy(branch_input(edges)[None]))
    for lines in (drawing(edges), 255 - drawing(edges)):
        np.testing.assert_allclose(embedder.embed_edges([lines]), expected.numpy(), atol=1e-5)


def test_alpha_of_a_call_is_that_of_another_embedder(tmp_path: Path) -> None:
    save_model(tmp_path, Edges(size_px=64))
    plain, fused = (Embedder(tmp_path, alpha) for alpha in (0.0, 0.5))
    image = png((255, 255, 255))
    np.testing.assert_array_equal(
        plain.embed_images([image], alpha=0.5), fused.embed_images([image])
    )
    np.testing.assert_array_equal(
        fused.embed_images([image], alpha=0.0), plain.embed_images([image])
    )
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UserError, match="alpha is a weight of 0 or more"):
            plain.embed_images([image], alpha=bad)


def test_a_model_without_edges_says_so(tmp_path: Path) -> None:
    HeadsOnTowers(replace(CONFIG, edges=None)).save(tmp_path)
    (tmp_path / "preprocess.json").write_text(json.dumps({"edges": Edges().model_dump()}))
    with pytest.raises(UserError, match="has no edge branch"):
        Embedder(tmp_path, alpha=0.5)
    with pytest.raises(UserError, match="has no edge branch"):
        Embedder(tmp_path, alpha=0.0).embed_edges([png((255, 255, 255))])


def test_copies_of_a_model_have_one_digest(tmp_path: Path) -> None:
    save_model(tmp_path / "a", Edges(size_px=64))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert model_digest(tmp_path / "a") == model_digest(tmp_path / "b")
    (tmp_path / "b" / "preprocess.json").write_text("{}")
    assert model_digest(tmp_path / "a") != model_digest(tmp_path / "b")


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
