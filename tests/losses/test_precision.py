"""Every loss is its float32 value, whatever precision the training loop around it has."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from structxlip.losses import CompositeLoss, ContrastiveLoss, Features
from tests.losses.test_losses import LOSSES, every_loss, random

HALF = [torch.bfloat16, torch.float16]
VALUE, DIRECTION = 1e-3, 0.999


def narrow_cone(n: int = 64, dim: int = 512) -> tuple[Tensor, Tensor]:
    """Pairs ``[n, dim]`` near one direction, as those of a fine-tuned CLIP are: at a logit scale
    of 100 their logits differ by less than the steps of bfloat16."""
    images = normalize(random(1, dim) + 0.3 * random(n, dim, seed=1), dim=-1)
    return images, normalize(images + 0.12 * random(n, dim, seed=2) / dim**0.5, dim=-1)


def value_and_gradient(
    name: str, first: Tensor, second: Tensor, autocast: torch.dtype | None
) -> tuple[float, Tensor]:
    first = first.clone().requires_grad_()
    valid = torch.arange(len(first)) % 7 > 0
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        loss = every_loss(first, second, valid, scale=100.0)[name]()
    assert loss.dtype == torch.float32
    return float(loss), torch.autograd.grad(loss, first)[0].flatten().float()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_autocast_changes_no_loss(name: str, dtype: torch.dtype) -> None:
    expected, slope = value_and_gradient(name, *narrow_cone(), None)
    value, gradient = value_and_gradient(name, *narrow_cone(), dtype)
    assert value == pytest.approx(expected, abs=VALUE)
    assert cosine_similarity(gradient, slope, dim=0) > DIRECTION


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_half_precision_features_are_widened_first(
    name: str, dtype: torch.dtype, autocast: bool
) -> None:
    """Also of norms whose squares float16 cannot hold."""
    first, second = (100 * features.to(dtype) for features in narrow_cone())
    expected, slope = value_and_gradient(name, first.float(), second.float(), None)
    value, gradient = value_and_gradient(name, first, second, dtype if autocast else None)
    assert value == pytest.approx(expected, abs=VALUE)
    assert cosine_similarity(gradient, slope, dim=0) > DIRECTION


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_that_is_half_precision_itself_computes_in_float32(
    name: str, dtype: torch.dtype
) -> None:
    first, second = (features.to(dtype) for features in narrow_cone(8, 16))
    valid = torch.ones(8, dtype=torch.bool)  # every_loss makes losses of the dtype of the features
    expected = every_loss(first.float(), second.float(), valid)[name]()
    torch.testing.assert_close(every_loss(first, second, valid)[name](), expected)


@pytest.mark.parametrize("kinds", [{}, {"region_chunk": "region_chunk", "edge_image": "cosine"}])
@pytest.mark.parametrize("dtype", HALF)
def test_the_composite_loss_is_in_float32_too(dtype: torch.dtype, kinds: dict[str, str]) -> None:
    first, second = (features.to(dtype) for features in narrow_cone())
    mask = torch.ones(64, 1, dtype=torch.bool)
    given = Features(
        image_features=first,
        text_features=second,
        logit_scale=torch.tensor(100.0, dtype=dtype),
        edge_features=first,
        structure_features=second,
        has_structure=mask[:, 0],
        chunk_features=second[:, None],
        chunk_mask=mask,
        patch_features=first[:, None],
        region_features=first[:, None],
        region_mask=mask,
    )
    weights = {"edge_text": 0.5, "region_chunk": 0.1, "edge_image": 0.05}
    loss = CompositeLoss(512, **weights, temperature=0.07, kinds=kinds)
    wide: dict[str, Tensor] = given  # type: ignore[assignment]
    expected = loss({k: v if v.dtype == torch.bool else v.float() for k, v in wide.items()})
    with torch.autocast("cpu", dtype):
        found = loss(given)
    torch.testing.assert_close(found, expected, atol=VALUE, rtol=0)
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_autocast_goes_on_after_a_loss() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        ContrastiveLoss()(random(2, 3), random(2, 3, seed=1), 1.0)
        assert (random(2, 3) @ random(3, 2)).dtype == torch.bfloat16


def test_double_precision_stays() -> None:
    pair = random(2, 3, dtype=torch.float64)
    assert ContrastiveLoss()(pair, pair, 1.0).dtype == torch.float64


def test_arguments_keep_their_names() -> None:
    """``CompositeLoss`` hands features to a loss by the names of its arguments."""
    named = inspect.signature(ContrastiveLoss().forward).parameters
    assert list(named)[:3] == ["image_features", "text_features", "logit_scale"]
    loss = ContrastiveLoss()
    pair = random(2, 3).half(), random(2, 3, seed=1).half()
    given = {"image_features": pair[0], "text_features": pair[1], "logit_scale": 2.0}
    torch.testing.assert_close(loss(**given), loss(*pair, 2.0))
