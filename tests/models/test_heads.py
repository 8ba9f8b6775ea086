"""The trained part: it saves and loads whole or not at all, and fuses its edge branch by alpha."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from structxlip.errors import UserError
from structxlip.models.build import load_model
from structxlip.models.heads import HeadsConfig, HeadsOnTowers

CONFIG = HeadsConfig(
    image_tower="packaged:a",
    text_tower="packaged:b",
    image_px=64,
    max_tokens=8,
    image_dim=5,
    text_dim=7,
    embed_dim=6,
    hidden_dim=9,
    dropout=0.1,
    aligned=False,
    edges=True,
)


@pytest.fixture
def model() -> HeadsOnTowers:
    torch.manual_seed(0)
    return HeadsOnTowers(CONFIG).eval()


def test_what_is_saved_is_loaded(model: HeadsOnTowers, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == CONFIG
    image, text = torch.randn(3, 5), torch.randn(2, 7)
    edges = (torch.rand(3, 1, 64, 64) < 0.1).float()
    torch.testing.assert_close(
        loaded.embed_images(image, edges, 0.3), model.embed_images(image, edges, 0.3)
    )
    torch.testing.assert_close(loaded.embed_texts(text), model.embed_texts(text))


def test_missing_and_unexpected_weights_are_named(model: HeadsOnTowers, tmp_path: Path) -> None:
    model.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["stray"] = weights.pop("text_head.mlp.0.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as refused:
        load_model(tmp_path)
    assert "text_head.mlp.0.bias" in str(refused.value)
    assert "stray" in str(refused.value)
    with pytest.raises(UserError, match="holds no StructXLIP model"):
        load_model(tmp_path / "nowhere")


def test_the_logit_scale_is_clamped_at_100_and_not_before(model: HeadsOnTowers) -> None:
    for value, expected in ((4.605, 4.605), (3.6, 3.6), (5.0, math.log(100))):
        torch.nn.init.constant_(model.logit_scale, value)
        model.clamp_logit_scale()
        assert float(model.logit_scale.detach()) == pytest.approx(expected)


def test_the_edge_branch_is_fused_by_alpha(model: HeadsOnTowers) -> None:
    image = torch.randn(2, 5)
    edges = torch.zeros(2, 1, 64, 64)
    edges[1, :, 10:20, 30] = 1
    plain = model.embed_images(image, None, 0.0)
    torch.testing.assert_close(plain, normalize(model.image_head(image), dim=-1))
    fused = model.embed_images(image, edges, 0.4)
    torch.testing.assert_close(fused[0], plain[0])  # a map without an edge says nothing
    embedding = normalize(model.edge_encoder(edges)[0], dim=-1)[1]
    torch.testing.assert_close(fused[1], normalize(plain[1] + 0.4 * embedding, dim=0))


def test_aligned_heads_start_as_the_zero_shot_model() -> None:
    config = replace(CONFIG, image_dim=6, text_dim=6, aligned=True, edges=False)
    model = HeadsOnTowers(config).eval()
    image, text = torch.randn(3, 6), torch.randn(3, 6)
    torch.testing.assert_close(model.embed_images(image, None, 0.0), normalize(image, dim=-1))
    torch.testing.assert_close(model.embed_texts(text), normalize(text, dim=-1))
    with pytest.raises(UserError, match=r"set model\.embed_dim to 5"):
        HeadsOnTowers(replace(CONFIG, aligned=True))
