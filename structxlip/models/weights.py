"""Change all weights of a model at once: read longer texts, or interpolate two models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

KEPT_POSITIONS = 20  # as in Long-CLIP
EDGE_BRANCH = "edge_encoder."  # what only one of the arms has


def stretch_positions(positions: Tensor, length: int, keep: int = KEPT_POSITIONS) -> Tensor:
    """Stretch position embeddings to longer texts (Long-CLIP; Zhang et al., 2024).

    The first ``keep`` embeddings stay as they are: most training texts are short, so these are well
    trained. The others are interpolated linearly over the remaining positions. The last embedding
    stays the last.

    Args:
        positions: position embeddings ``[L, D]``.
        length: tokens of the longer texts, at least ``L``.
        keep: embeddings that stay as they are, at most ``L - 2``.

    Returns:
        Position embeddings ``[length, D]``.

    Raises:
        ValueError: a ``length`` below ``L``, or fewer than two embeddings after the first ``keep``.
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
    # In single precision the last embedding would not stay exactly the same.
    rest = positions[keep:].T[None].double()
    stretched = interpolate(rest, length - keep, mode="linear", align_corners=True)[0].T
    return torch.cat([positions[:keep], stretched.to(positions.dtype)])


@torch.no_grad()
def stretch_text(clip: Any, length: int, keep: int = KEPT_POSITIONS) -> None:
    """Let the text tower of an open_clip model read ``length`` tokens, by ``stretch_positions``.

    The model is changed in place. The caller sets ``context_length`` of its tokenizer.
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


@torch.no_grad()
def start_from(model: nn.Module, other: nn.Module) -> None:
    """Give a model the weights of another one. Those of the edge branch are taken where both have
    the same; else they stay as they are.

    Raises:
        ValueError: the models differ in another part.
    """
    own, given = model.state_dict(), other.state_dict()
    shared = {n: v for n, v in given.items() if n in own and v.shape == own[n].shape}
    branch = {name for name in own if name.startswith(EDGE_BRANCH)}
    if not branch <= shared.keys():
        shared = {name: value for name, value in shared.items() if name not in branch}
    if missing := sorted(own.keys() - shared.keys() - branch):
        raise ValueError(f"the models differ in {', '.join(missing[:3])}")
    model.load_state_dict(own | shared)


def interpolate_weights(
    base: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float
) -> dict[str, Tensor]:
    """Interpolate two state dicts: ``(1 - share) · base + share · tuned``.

    The result keeps more of the robustness of the zero-shot model than the fine-tuned model does
    (WiSE-FT; Wortsman et al., 2022). Weights that are not floating point are those of ``tuned``.

    Args:
        base: weights of the zero-shot model.
        tuned: weights of the fine-tuned model, with the same names and shapes.
        share: in [0, 1]; 0 gives ``base`` and 1 gives ``tuned``.

    Raises:
        ValueError: a share outside of [0, 1], or weights with other names or shapes.
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
