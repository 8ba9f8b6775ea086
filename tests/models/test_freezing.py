"""Frozen weights stay the same under training, and trained weights move."""

from __future__ import annotations

from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor, nn

from structxlip.models.freezing import Trained, train_only

HEADS = {"logit_scale", "text_projection", "visual.proj"}
NORMS = {f"{norm}.{kind}" for norm in ("ln_final", "visual.ln_post") for kind in ("weight", "bias")}


def clip() -> Any:
    torch.manual_seed(0)
    tower = {"width": 32, "layers": 3}
    return open_clip.CLIP(
        8,
        tower | {"head_width": 16, "patch_size": 16, "image_size": 32},
        tower | {"context_length": 8, "vocab_size": 20, "heads": 2},
    )


def step(model: nn.Module) -> None:
    """One step that touches every weight that can be trained."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    images, texts = (
        model.encode_image(torch.randn(4, 3, 32, 32)),
        model.encode_text(  # type: ignore[operator]
            torch.randint(1, 20, (4, 8))
        ),
    )
    logits: Tensor = model.logit_scale.exp() * images @ texts.T  # type: ignore[operator, union-attr]
    nn.functional.cross_entropy(logits, torch.arange(4)).backward()
    optimizer.step()


def moved(trained: Trained) -> set[str]:
    model = clip()
    before = {name: value.clone() for name, value in model.named_parameters()}
    step(train_only(model, trained))
    return {n for n, v in model.named_parameters() if n in before and not torch.equal(v, before[n])}


def test_heads_only() -> None:
    assert moved("heads") == HEADS


@pytest.mark.parametrize("k", [1, 2])
def test_the_last_blocks_and_the_heads(k: int) -> None:
    towers = ("transformer.resblocks", "visual.transformer.resblocks")
    last = tuple(f"{tower}.{i}." for tower in towers for i in range(3 - k, 3))
    names = {name for name, _ in clip().named_parameters() if name.startswith(last)}
    assert moved(k) == names | HEADS | NORMS


def test_everything() -> None:
    assert moved("all") == {name for name, _ in clip().named_parameters()}


def test_low_rank_updates_leave_the_weights_and_merge_into_them() -> None:
    model = clip()
    images, texts = torch.randn(2, 3, 32, 32), torch.randint(1, 20, (2, 8))
    plain = model.encode_image(images).detach()
    updated = train_only(model, "lora", lora_rank=2)
    torch.testing.assert_close(updated.encode_image(images).detach(), plain)  # type: ignore[operator]
    trained = {name for name, p in updated.named_parameters() if p.requires_grad}
    heads = {name for name in trained if name.endswith(tuple(HEADS))}
    assert len(heads) == 3
    assert all("lora_" in name for name in trained - heads)
    for part in ("attn", "c_fc", "c_proj"):
        for tower in ("visual.transformer", "model.transformer"):
            assert any(part in name and tower in name for name in trained)
    step(updated)
    expected = updated.encode_image(images), updated.encode_text(texts)  # type: ignore[operator]
    assert not torch.allclose(expected[0], plain, atol=1e-3)
    merged = updated.merge_and_unload()  # type: ignore[operator]
    found = merged.encode_image(images), merged.encode_text(texts)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert set(merged.state_dict()) == set(clip().state_dict())


@pytest.mark.parametrize("trained", [0, 4, -1, "last"])
def test_what_cannot_be_trained_is_refused(trained: Any) -> None:
    with pytest.raises(ValueError, match="heads, lora, all or a number of blocks from 1 to 3"):
        train_only(clip(), trained)
    with pytest.raises(ValueError, match="lora_rank must be positive, not 0"):
        train_only(clip(), "lora", lora_rank=0)
    with pytest.raises(ValueError, match="Linear has no two towers of transformer blocks"):
        train_only(nn.Linear(2, 2), "heads")


def test_every_low_rank_update_has_the_scale_that_it_says() -> None:
    """``W + 2·B·A`` for each, attention's output projection too, in forward and after the merge."""
    model = clip()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    updated = train_only(model, "lora", lora_rank=2)
    factors = {name: p for name, p in updated.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for parameter in factors.values():
            torch.nn.init.normal_(parameter, std=0.1)
    updates = {
        name.split("lora_B")[0].removeprefix("base_model.model."): b.detach()
        @ factors[name.replace("lora_B", "lora_A")].detach()
        for name, b in factors.items()
        if "lora_B" in name
    }
    expected = updated.encode_image(torch.ones(1, 3, 32, 32))  # type: ignore[operator]
    merged = updated.merge_and_unload()  # type: ignore[operator]
    torch.testing.assert_close(merged.encode_image(torch.ones(1, 3, 32, 32)), expected)
    state = merged.state_dict()
    assert len(updates) == 24  # two towers of three blocks with four matrices each
    for name, update in updates.items():
        path = name.rstrip(".").replace(".base_layer", "")
        weight = f"{path}.in_proj_weight" if path.endswith("attn") else f"{path}.weight"
        torch.testing.assert_close(state[weight] - before[weight], 2 * update)
