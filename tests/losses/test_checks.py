"""Losses refuse what does not fit, and call it by the name of the argument."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from structxlip.losses import (
    ContrastiveLoss,
    CosineConsistencyLoss,
    NotFinite,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
)
from tests.losses.test_losses import LOSSES, every_loss, random

LOSS_OF_PAIRS: dict[str, Callable[..., Tensor]] = {
    "contrastive": lambda a, b, valid: ContrastiveLoss()(a, b, 1.0, valid),
    "sigmoid": lambda a, b, valid: SigmoidContrastiveLoss()(a, b, 1.0, valid),
    "projected_l2": lambda a, b, valid: ProjectedL2ConsistencyLoss(3)(a, b, valid),
    "cosine": lambda a, b, valid: CosineConsistencyLoss()(a, b, valid),
}
ARGUMENTS = {
    "contrastive": ("image", "text"),
    "sigmoid": ("image", "text"),
    "region_chunk_attention": ("chunk", "patch"),
    "region_chunk": ("chunk", "region"),
    "projected_l2": ("image", "edge"),
    "cosine": ("image", "edge"),
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("name", LOSSES)
def test_features_that_are_not_finite_are_refused_by_name(name: str, place: int) -> None:
    pair = [random(4, 3), random(4, 3)]
    pair[place][2, 1] = float("nan") if place else float("inf")
    said = f"^{ARGUMENTS[name][place]}_features must be finite, and hold NaN or infinity; lower"
    with pytest.raises(NotFinite, match=said):
        every_loss(pair[0], pair[1], torch.ones(4, dtype=torch.bool))[name]()


@pytest.mark.parametrize("name", LOSSES)
def test_masks_that_do_not_fit_are_refused(name: str) -> None:
    for mask in (torch.ones(3, dtype=torch.bool), torch.ones(4)):
        with pytest.raises(ValueError, match="must be boolean"):
            every_loss(random(4, 3), random(4, 3), mask)[name]()


@pytest.mark.parametrize("name", ["contrastive", "sigmoid", "projected_l2", "cosine"])
def test_pairs_that_do_not_fit_are_refused_by_name(name: str) -> None:
    one, two = (f"{part}_features" for part in ARGUMENTS[name])
    valid = torch.ones(4, dtype=torch.bool)
    for first, second, said in (
        (random(4, 3), random(4, 2), rf"^{one} and {two} must both be \[N, D\], got \(4, 3\) and"),
        (random(4), random(4), rf"^{one} and {two} must both be \[N, D\], got \(4,\) and \(4,\)"),
        (random(4, 3).int(), random(4, 3), f"^{one} must be floating point, got torch.int32"),
        (random(4, 3), random(4, 3).int(), f"^{two} must be floating point, got torch.int32"),
    ):
        with pytest.raises(ValueError, match=said):
            LOSS_OF_PAIRS[name](first, second, valid)


def parts_of_two() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Chunks and parts of two pairs, with their masks."""
    mask = torch.ones(2, 1, dtype=torch.bool)
    return random(2, 1, 3), mask, random(2, 1, 3, seed=1), mask


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ContrastiveLoss()(random(3, 4), random(2, 4), 1.0), r"must both be \[N, D\]"),
        (lambda: ContrastiveLoss()(random(3, 4), random(3, 4), 1.0, torch.ones(3)), "valid must"),
        (
            lambda: ContrastiveLoss()(random(3, 4), random(3, 4), 1.0, None, torch.ones(3)),
            "group_ids must be integer",
        ),
        (
            lambda: RegionChunkLoss()(*parts_of_two(), 1.0, torch.zeros(3, dtype=torch.long)),
            r"group_ids must be integer \[2\], got torch.int64 \(3,\)",
        ),
        (
            lambda: RegionChunkAttentionLoss()(*parts_of_two(), torch.zeros(2)),
            "group_ids must be integer",
        ),
        (lambda: RegionChunkAttentionLoss(0.0), "temperatures must be above 0"),
        (lambda: RegionChunkLoss(-1.0), "temperature must be above 0"),
        (lambda: RegionChunkLoss(0.0), "temperature must be above 0"),
        (lambda: RegionChunkAttentionLoss(0.1, 0.0), "temperatures must be above 0"),
        (
            lambda: RegionChunkLoss()(
                random(2, 1, 3),
                torch.ones(2, 1, dtype=torch.bool),
                random(2, 2, 3),
                torch.ones(2, 1, dtype=torch.bool),
                1.0,
            ),
            r"region_mask must be boolean \(2, 2\)",
        ),
        (lambda: CosineConsistencyLoss()(random(2, 3).int(), random(2, 3)), "must be floating"),
        (
            lambda: RegionChunkAttentionLoss()(random(2, 1, 3), torch.ones(2, 1), random(2, 1, 3)),
            "chunk_mask must be boolean",
        ),
        (
            lambda: RegionChunkAttentionLoss()(
                random(2, 1, 3), torch.ones(2, 1, dtype=torch.bool), random(3, 1, 3)
            ),
            "must share N and D",
        ),
    ],
)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
