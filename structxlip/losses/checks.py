"""Checks of the inputs of losses: shapes that fit, boolean masks, finite features."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


class NotFinite(ValueError):
    """A feature, a loss or a gradient that is NaN or infinite."""


def unit(features: Tensor, mask: Tensor | None = None, name: str = "features") -> Tensor:
    """Features normalised to unit length along the last dimension.

    Args:
        features: ``[…, D]``.
        mask: boolean ``[…]``; features outside of it become 0, so that no value of the padding,
            not even NaN, reaches a loss or a gradient.
        name: what the error calls the features.

    Raises:
        NotFinite: a feature inside of the mask holds NaN or infinity.
    """
    if mask is not None:
        features = features.masked_fill(~mask[..., None], 0.0)
    if not torch.isfinite(features).all():
        raise NotFinite(f"{name} must be finite, and hold NaN or infinity; lower the learning rate")
    return normalize(features, dim=-1)


def check_pairs(first: Tensor, second: Tensor, names: tuple[str, str]) -> None:
    """Raise ``ValueError`` unless both are floating point ``[N, D]`` of one shape."""
    if first.dim() != 2 or first.shape != second.shape:
        raise ValueError(
            f"{names[0]} and {names[1]} must both be [N, D], got {tuple(first.shape)} and "
            f"{tuple(second.shape)}"
        )
    for name, features in zip(names, (first, second), strict=True):
        if not features.is_floating_point():
            raise ValueError(f"{name} must be floating point, got {features.dtype}")


def check_rows(n: int, *, valid: Tensor | None = None, group_ids: Tensor | None = None) -> None:
    """Raise ``ValueError`` unless ``valid`` is boolean and ``group_ids`` integer, both ``[N]``."""
    if valid is not None and (valid.shape != (n,) or valid.dtype != torch.bool):
        raise ValueError(f"valid must be boolean [{n}], got {valid.dtype} {tuple(valid.shape)}")
    if group_ids is not None and (group_ids.shape != (n,) or group_ids.is_floating_point()):
        raise ValueError(
            f"group_ids must be integer [{n}], got {group_ids.dtype} {tuple(group_ids.shape)}"
        )


def check_parts(name: str, chunks: Tensor, chunk_mask: Tensor, parts: Tensor, mask: Tensor) -> None:
    """Raise ``ValueError`` unless chunks ``[N, C, D]`` and parts of images ``[N, P, D]`` fit.

    They must share ``N`` and ``D`` and have boolean masks ``[N, C]`` and ``[N, P]``; ``name`` is
    what the error calls the parts.
    """
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
