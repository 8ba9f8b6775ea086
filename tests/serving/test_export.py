"""Exports: what other libraries load from them computes what the model does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import open_clip
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import normalize
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from structxlip.config import Edges
from structxlip.cues import branch_input, drawing
from structxlip.errors import UserError
from structxlip.models.heads import HeadsOnTowers
from structxlip.models.towers import load_clip
from structxlip.models.tuned_clip import TunedClip, TunedClipConfig
from structxlip.serving.embedder import Embedder
from structxlip.serving.export import left_out, write_export
from structxlip.serving.graphs import Graph
from tests.clips import IMAGE_PX, TEXT_LENGTH, write_tiny_clip
from tests.serving.test_embedder import CONFIG

TEXTS = [
    "Don't look!  A red boat (left), a star.",
    "two small striped fish",
    "naïve café ß 1999" + " and so on" * 40,
    "a", "b", "c", "d",
]  # fmt: skip


def tuned(folder: Path, edges: Any = "image_tower") -> Embedder:
    """A saved CLIP of 32 px with random weights."""
    name = write_tiny_clip(folder)
    config = TunedClipConfig(name, name, IMAGE_PX, None, "all", 0, edges)
    return saved(folder / "model", TunedClip(config, load_clip(name)), Edges(size_px=IMAGE_PX))


def saved(folder: Path, model: Any, edges: Edges) -> Embedder:
    folder.mkdir()
    model.save(folder)
    described = {"edges": edges.model_dump(), "cues": [edges.cue]}
    (folder / "preprocess.json").write_text(json.dumps(described))
    return Embedder(folder, alpha=0.5 if model.has_edges else 0.0)


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [
        cv2.resize(rng.integers(0, 255, (5, 6, 3), np.uint8), (60, 50), None, 0, 0, cv2.INTER_CUBIC)
        for _ in range(count)
    ]


def test_a_tuned_clip_is_a_clip_of_transformers(tmp_path: Path) -> None:
    embedder = tuned(tmp_path)
    write_export(embedder, "hf", tmp_path)
    clip = CLIPModel.from_pretrained(tmp_path)
    tokens = AutoTokenizer.from_pretrained(tmp_path)(
        TEXTS, padding=True, truncation=True, return_tensors="pt"
    )
    images = [cv2.resize(image, (IMAGE_PX, IMAGE_PX)) for image in pictures(3)]
    pixels = CLIPImageProcessor.from_pretrained(tmp_path)(
        list(map(Image.fromarray, images)), return_tensors="pt"
    )
    with torch.no_grad():
        out = clip(**tokens, **pixels)
    np.testing.assert_allclose(out.text_embeds, embedder.embed_texts(TEXTS), atol=1e-5)
    expected = embedder.embed_images(images, alpha=0.0)
    np.testing.assert_allclose(out.image_embeds, expected, atol=1e-5)
    assert left_out(embedder, "hf") == ""


def test_a_tuned_clip_is_a_clip_of_open_clip(tmp_path: Path) -> None:
    embedder = tuned(tmp_path, edges="cnn")
    target = tmp_path / "export"
    target.mkdir()
    write_export(embedder, "open_clip", target)
    name = f"local-dir:{target}"
    clip, preprocess = open_clip.create_model_from_pretrained(name)
    with torch.no_grad():
        texts = clip.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
        image = Image.fromarray(cv2.resize(pictures(1)[0], (IMAGE_PX, IMAGE_PX)))
        images = clip.encode_image(preprocess(image)[None], normalize=True)
    np.testing.assert_allclose(texts, embedder.embed_texts(TEXTS), atol=1e-5)
    np.testing.assert_allclose(images, embedder.embed_images([image], alpha=0.0), atol=1e-5)
    assert "its edge encoder is left out" in left_out(embedder, "open_clip")


def heads_on_towers(folder: Path) -> Embedder:
    """Heads and an edge branch on a small tower of timm, and the packaged text tower."""
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=0)
    save_file(network.state_dict(), folder / "tower.safetensors")
    tower = f"timm:test_efficientnet/{folder / 'tower.safetensors'}"
    config = replace(
        CONFIG, image_tower=tower, image_dim=network.num_features, edges="image_tower", tower_grid=2
    )
    return saved(folder / "model", HeadsOnTowers(config).eval(), Edges(cue="gradient", size_px=64))


@pytest.mark.parametrize("make", [tuned, heads_on_towers])
def test_onnxruntime_embeds_what_the_model_does(
    tmp_path: Path, make: Callable[[Path], Embedder]
) -> None:
    embedder = make(tmp_path)
    target = tmp_path / "export"
    target.mkdir()
    write_export(embedder, "onnx", target)
    described = json.loads((target / "preprocess.json").read_text())
    model, side = embedder.model, described["image"]["pixels"]["shape"][1]
    tokenizer = AutoTokenizer.from_pretrained(target / "tokenizer")
    limit = described["text"]["shape"][1]
    assert limit == ("L" if make is heads_on_towers else TEXT_LENGTH)
    for rows in (1, 7):
        images = pictures(rows)
        pixels = np.stack(
            [cv2.resize(image, (side, side), None, 0, 0, cv2.INTER_AREA if image.shape[0] > side
             else cv2.INTER_LINEAR) for image in images]
        )  # fmt: skip
        if make is tuned:
            with torch.no_grad():
                expected = normalize(model.image_features(torch.from_numpy(pixels)), dim=-1)
                tokens = embedder.text_encoder.encode(TEXTS[:rows])[0]
                texts = normalize(model.text_features(torch.from_numpy(tokens)), dim=-1)
            given = tokenizer(
                TEXTS[:rows], padding="max_length", max_length=limit, truncation=True,
                return_tensors="np",
            ).input_ids  # fmt: skip
            asked = {"tokens": given.astype(np.int64)}
        else:
            tower, reader = embedder.image_encoder, embedder.text_encoder
            with torch.no_grad():
                features = tower.network(tower.standardise(torch.from_numpy(pixels)))
                expected = normalize(model.image_features(features), dim=-1)
                read, _ = reader(reader.tokenize(TEXTS[:rows])[0])
                texts = normalize(model.text_features(read), dim=-1)
            found = tokenizer(TEXTS[:rows], padding=True, truncation=True, return_tensors="np",
                              max_length=embedder.text_encoder.limit)  # fmt: skip
            asked = {name: found[name].astype(np.int64) for name in described["text"]["inputs"]}
        np.testing.assert_allclose(run(target, "image", pixels=pixels), expected, atol=1e-4)
        np.testing.assert_allclose(run(target, "text", **asked), texts, atol=1e-4)
    maps = [embedder.cue(image) for image in images[:2]] + [embedder.cue.blank]
    if make is tuned:
        found = run(target, "edges", maps=np.stack(list(map(branch_input, maps))))
    else:
        found = run(target, "edges", drawings=np.stack(list(map(drawing, maps))))
    expected = model.embed_edges(torch.from_numpy(embedder.read_maps(maps))).numpy()
    np.testing.assert_allclose(found, expected, atol=0.02)  # the tower rounds to bf16 here
    assert not found[-1].any()
    assert described["fused"]["alpha"] == 0.5


def run(folder: Path, name: str, **inputs: np.ndarray) -> np.ndarray:
    opened = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    found: np.ndarray = opened.run(None, inputs)[0]
    return found


def test_heads_on_frozen_towers_are_no_clip(tmp_path: Path) -> None:
    embedder = heads_on_towers(tmp_path)
    with pytest.raises(UserError, match="no CLIP of its own; export it --to onnx"):
        write_export(embedder, "hf", tmp_path)


def test_a_graph_that_differs_is_refused(tmp_path: Path) -> None:
    class Noise(torch.nn.Module):
        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return values + 1 if torch.compiler.is_exporting() else values

    graph = Graph(Noise(), ("values",), ((0,),), lambda rows: (torch.zeros(rows, 3),))
    with pytest.raises(UserError, match=r"noise.onnx differs from the model by 1 on 1 rows"):
        graph.write(tmp_path / "noise.onnx")
