"""What all losses ask of their inputs: shapes that fit, masks that are masks, finite features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


class NotFinite(ValueError):
    """A feature, a loss or a gradient that is NaN or infinite."""


def unit(features: Tensor, mask: Tensor | None = None, name: str = "features") -> Tensor:
    """L2-normalised along the last dimension, in at least float32: exp of logits needs it.

    What stands outside of ``mask`` (boolean, the leading dimensions of ``features``) becomes 0, so
    that padding of any value, NaN too, reaches neither a loss nor a gradient.

    Raises:
        NotFinite: a value inside of the mask is.
    """
    if mask is not None:
        features = features.masked_fill(~mask[..., None], 0.0)
    if not torch.isfinite(features).all():
        raise NotFinite(f"{name} must be finite, and hold NaN or infinity; lower the learning rate")
    wide = torch.promote_types(features.dtype, torch.float32)
    return normalize(features.to(wide), dim=-1)


def check_pairs(first: Tensor, second: Tensor, names: tuple[str, str]) -> None:
    """``ValueError`` unless both are floating ``[N, D]`` of one shape."""
    if first.dim() != 2 or first.shape != second.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must both be [N, D], got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    for name, features in zip(names, (first, second), strict=True):
        if not features.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {features.dtype}")


def check_rows(n: int, *, valid: Tensor | None, group_ids: Tensor | None = None) -> None:
    """``ValueError`` unless ``valid`` is boolean ``[N]`` and ``group_ids`` integer ``[N]``."""
    if valid is not None and (valid.shape != (n,) or valid.dtype != torch.bool):
        raise ValueError(f"valid must be boolean [{n}], got {valid.dtype} {tuple(valid.shape)}")
    if group_ids is not None and (group_ids.shape != (n,) or group_ids.is_floating_point()):
        raise ValueError(
            f"group_ids must be integer [{n}], got {group_ids.dtype} {tuple(group_ids.shape)}"
        )


def check_parts(name: str, chunks: Tensor, chunk_mask: Tensor, parts: Tensor, mask: Tensor) -> None:
    """``ValueError`` unless chunks ``[N, C, D]`` and parts of images ``[N, P, D]``, called
    ``name``, share ``N`` and ``D`` and have boolean masks ``[N, C]`` and ``[N, P]``."""
    if chunks.dim() != 3 or parts.dim() != 3:
        raise ValueError(
            f"chunk_features and {name}_features must be [N, C, D] and [N, P, D], "
            f"got {tuple(chunks.shape)} and {tuple(parts.shape)}"
        )
    if chunks.shape[0] != parts.shape[0] or chunks.shape[2] != parts.shape[2]:
        raise ValueError(
            f"chunk_features {tuple(chunks.shape)} and {name}_features {tuple(parts.shape)} "
            f"must share N and D"
        )
    for what, given, features in (("chunk", chunk_mask, chunks), (name, mask, parts)):
        if given.dtype != torch.bool or given.shape != features.shape[:2]:
            raise ValueError(
                f"{what}_mask must be boolean {tuple(features.shape[:2])}, "
                f"got {given.dtype} {tuple(given.shape)}"
            )
