"""What all losses ask of their inputs: shapes that fit, masks that are masks, unit norm."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def unit(features: Tensor) -> Tensor:
    """L2-normalised along the last dimension, in at least float32: exp of logits needs it."""
    wide = torch.promote_types(features.dtype, torch.float32)
    return normalize(features.to(wide), dim=-1)


def check_features(first: Tensor, second: Tensor) -> None:
    """``ValueError`` unless both are floating ``[N, D]`` of one shape."""
    if first.dim() != 2 or first.shape != second.shape:
        raise ValueError(
            f"features must both be [N, D], got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not (first.is_floating_point() and second.is_floating_point()):
        raise ValueError(f"features must be floating point, got {first.dtype} and {second.dtype}")


def check_rows(n: int, *, valid: Tensor | None, group_ids: Tensor | None = None) -> None:
    """``ValueError`` unless ``valid`` is boolean ``[N]`` and ``group_ids`` integer ``[N]``."""
    if valid is not None and (valid.shape != (n,) or valid.dtype != torch.bool):
        raise ValueError(f"valid must be boolean [{n}], got {valid.dtype} {tuple(valid.shape)}")
    if group_ids is not None and (group_ids.shape != (n,) or group_ids.is_floating_point()):
        raise ValueError(
            f"group_ids must be integer [{n}], got {group_ids.dtype} {tuple(group_ids.shape)}"
        )
