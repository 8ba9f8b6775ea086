"""Rates and weight decay of each part."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from structxlip.config import Params, Train
from structxlip.models.freezing import train_only
from structxlip.models.towers import load_clip
from structxlip.training.optimizer import layer_shares, make_optimizer, rate_factor
from tests.store import Artifacts
from tests.training.test_loop import change, new_loop, train


def rates(model: nn.Module, settings: Train, loss: nn.Module) -> dict[str, tuple[float, float]]:
    optimizer = make_optimizer(model, loss, settings)
    names = {id(p): name for name, p in [*model.named_parameters(), *loss.named_parameters()]}
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }


def test_decay_is_for_matrices_alone(raw_artifacts: Artifacts, paper_params: Params) -> None:
    loop = new_loop(raw_artifacts, paper_params)
    found = rates(loop.local_task.model, paper_params.recipe_settings.train, loop.local_task.loss)
    assert found["logit_scale"][1] == 0
    for name, (_, decay) in found.items():
        plain = name.endswith("bias") or ".ln_" in name or name == "logit_scale"
        plain = plain or name.endswith("class_embedding")
        assert decay == (0 if plain else 0.05), name


def test_layers_learn_slower_the_earlier_they_come(paper_params: Params) -> None:
    clip = load_clip(paper_params.recipe_settings.model.image_tower, None, 0).model
    share = layer_shares(clip, 0.5)  # of two blocks in each tower
    assert share["visual.transformer.resblocks.1.mlp.c_fc.weight"] == 0.5
    assert share["visual.transformer.resblocks.0.mlp.c_fc.weight"] == 0.25
    assert share["visual.conv1.weight"] == share["visual.ln_pre.weight"] == 0.125
    assert share["token_embedding.weight"] == share["positional_embedding"] == 0.125
    assert share["transformer.resblocks.0.attn.in_proj_weight"] == 0.25
    for name in ("ln_final.weight", "visual.ln_post.bias", "text_projection", "visual.proj"):
        assert share[name] == 1
    assert share["logit_scale"] == 1
    assert set(layer_shares(clip, 1.0).values()) == {1.0}
    trunk = ("visual.trunk.blocks.1.", "visual.trunk.norm.", "visual.trunk.attn_pool.q.")
    of_timm = torch.nn.Module()
    for name in [*trunk, "visual.trunk.patch_embed."]:
        module: torch.nn.Module = of_timm
        for part in name.strip(".").split("."):
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        module.weight = torch.nn.Parameter(torch.zeros(1))
    assert list(layer_shares(of_timm, 0.5).values()) == [0.5, 1, 1, 0.125]
    updates = {
        name: value
        for name, value in layer_shares(train_only(clip, "lora"), 0.5).items()
        if "lora_" in name
    }
    assert set(updates.values()) == {0.5, 0.25}


def test_a_clip_has_a_learning_rate_of_its_own(
    raw_artifacts: Artifacts, paper_params: Params
) -> None:
    params = change(paper_params, clip_learning_rate=1e-5, warmup_epochs=0, region_px=None)
    content = params.model_dump(by_alias=True)
    structural = content["recipes"]["paper"]["arms"]["structxlip"]
    structural["edge_branch"] = "cnn"  # which starts from nothing
    structural["region_chunk"] = {"weight": 0.001}
    structural["edge_image"] = {"weight": 0.001}
    loop = new_loop(raw_artifacts, Params.model_validate(content))
    before = {name: value.clone() for name, value in loop.local_task.named_parameters()}
    train(loop, raw_artifacts, 2)
    moved = {
        name: float((value - before[name]).detach().abs().max())
        for name, value in loop.local_task.named_parameters()
    }
    assert 1e-6 < moved["model.clip.text_projection"] < 1e-4
    assert moved["model.edge_encoder.projection.weight"] > 5e-4
    assert moved["loss.terms.edge_image.projection.weight"] > 5e-4


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    values = [rate_factor(epoch / 10, 2, 10) for epoch in range(101)]
    assert values[0] < 0.01
    assert values[20] == pytest.approx(1.0)
    assert values[60] == pytest.approx(0.5)
    assert values[100] == pytest.approx(0.0)
    assert values[:21] == sorted(values[:21])
    assert values[20:] == sorted(values[20:], reverse=True)


def test_the_optimizer_is_adamw(artifacts: Artifacts, params: Params) -> None:
    """The fused kernel against the definition (Loshchilov and Hutter, 2019), a step by hand."""
    loop = new_loop(artifacts, change(params, weight_decay=0.1, warmup_epochs=0))
    weight = loop.local_task.model.text_head.mlp[0].weight
    before = weight.detach().clone()
    train(loop, artifacts, 1)
    gradient, rate = weight.grad, 1e-3
    assert gradient is not None
    mean, square = 0.1 * gradient / 0.1, 0.001 * gradient**2 / 0.001
    expected = before * (1 - rate * 0.1) - rate * mean / (square.sqrt() + 1e-8)
    torch.testing.assert_close(weight.detach(), expected, rtol=1e-5, atol=1e-7)
