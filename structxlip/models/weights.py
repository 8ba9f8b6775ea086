"""What is done to weights as a whole: a longer text, and the mean of two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

KEPT_POSITIONS = 20


def stretch_positions(positions: Tensor, length: int, keep: int = KEPT_POSITIONS) -> Tensor:
    """Position embeddings ``[L, D]`` for texts of ``length`` tokens, ``[length, D]``.

    The first ``keep`` stay as they are: most training texts are short, and these are the well
    trained ones (Long-CLIP; Zhang et al., 2024). The others are interpolated linearly over all of
    the new places, with the last one in the last.

    Raises:
        ValueError: a length below that of ``positions``, or fewer than two of them after ``keep``.
    """
    if positions.dim() != 2 or len(positions) < keep + 2:
        raise ValueError(
            f"positions must be [L, D] with L of at least {keep + 2}, got {tuple(positions.shape)}"
        )
    if length < len(positions):
        raise ValueError(
            f"a text of {len(positions)} tokens can be stretched, not cut to {length}; "
            f"truncate the tokens instead"
        )
    rest = positions[keep:].T[None].double()  # in single precision the last place drifts
    stretched = interpolate(rest, length - keep, mode="linear", align_corners=True)[0].T
    return torch.cat([positions[:keep], stretched.to(positions.dtype)])


@torch.no_grad()
def stretch_text(clip: Any, length: int, keep: int = KEPT_POSITIONS) -> None:
    """Let the text tower of an open_clip model read ``length`` tokens; see ``stretch_positions``.

    Its tokenizer takes the new length as ``context_length``.
    """
    text = getattr(clip, "text", clip)
    stretched = stretch_positions(text.positional_embedding, length, keep)
    text.positional_embedding = nn.Parameter(
        stretched, requires_grad=text.positional_embedding.requires_grad
    )
    text.context_length = length
    if hasattr(text, "num_pos"):
        text.num_pos = length
    if text.attn_mask is not None:
        causal = torch.full((length, length), -torch.inf, device=stretched.device).triu_(1)
        text.register_buffer("attn_mask", causal.to(text.attn_mask.dtype), persistent=False)


def interpolate_weights(
    base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """``(1 - share) · base + share · tuned`` of two state dicts (WiSE-FT; Wortsman et al., 2022).

    Between the zero-shot and the fine-tuned model lie models that keep more of the former's
    robustness. Weights that are not floating point are those of ``tuned``.

    Raises:
        ValueError: a share outside of [0, 1], or weights that are not the same ones.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie between 0 and 1, got {share}")
    differing = sorted(
        name
        for name in base.keys() | tuned.keys()
        if name not in base or name not in tuned or base[name].shape != tuned[name].shape
    )
    if differing:
        raise ValueError(f"the models differ in {', '.join(differing)}")
    return {
        name: torch.lerp(base[name], value, share) if value.is_floating_point() else value
        for name, value in tuned.items()
    }
