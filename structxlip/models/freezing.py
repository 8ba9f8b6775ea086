"""Which weights of a CLIP model are trained: heads, last blocks, low-rank updates, or all."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

Trained = Literal["heads", "lora", "all"] | int
# Of an open_clip CLIP: what maps to the joint space, and the norms right before it.
_HEADS = ("logit_scale", "logit_bias", "text_projection", "visual.proj", "visual.head")
_LAST_NORMS = ("ln_final", "visual.ln_post", "visual.norm")
# And of a tower of timm.
_AFTER_TRUNK = tuple(f"visual.trunk.{name}" for name in ("norm", "fc_norm", "attn_pool", "head"))
_LORA_TARGETS = ("attn", "c_fc", "c_proj")


def train_only(clip: nn.Module, trained: Trained, *, lora_rank: int = 8) -> nn.Module:
    """Freeze an open_clip model but for some weights, and return what is trained from now on.

    Args:
        clip: a model of two transformers, such as open_clip's ViT models.
        trained: "heads": the projections to the joint space and the logit scale; a number ``k``:
            also the last ``k`` blocks of both towers and their last norms; "lora": low-rank updates
            of attention and MLPs (Hu et al., 2021; through ``peft``), beside the heads; "all".
        lora_rank: rank of the updates.

    Returns:
        ``clip`` itself or, with "lora", the model with the updates in it;
        ``merge_and_unload()`` of that gives a plain model back.

    Raises:
        ValueError: more blocks than a tower has, a rank below 1, or a model without such blocks.
    """
    if trained == "all":
        return clip.requires_grad_(True)
    towers = _blocks(clip)
    clip.requires_grad_(False)
    if trained == "lora":
        return _with_lora(clip, lora_rank)
    _unfreeze(clip, _HEADS)
    if trained == "heads":
        return clip
    if not isinstance(trained, int) or not 0 < trained <= min(map(len, towers)):
        raise ValueError(
            f"trained must be heads, lora, all or a number of blocks from 1 to "
            f"{min(map(len, towers))}, not {trained!r}"
        )
    _unfreeze(clip, _LAST_NORMS)
    for blocks in towers:
        for block in blocks[-trained:]:
            block.requires_grad_(True)
    return clip


def _blocks(clip: Any) -> tuple[nn.ModuleList, nn.ModuleList]:
    """The transformer blocks of the text and the image tower."""
    try:
        text, visual = getattr(clip, "text", clip), clip.visual
        return text.transformer.resblocks, visual.transformer.resblocks
    except AttributeError:
        raise ValueError(
            f"{type(clip).__name__} has no two towers of transformer blocks; choose a ViT CLIP"
        ) from None


def is_after_blocks(name: str) -> bool:
    """Whether a parameter of a CLIP comes after the blocks of its tower: a last norm, or what maps
    to the joint space."""
    bare = name.removeprefix("base_model.model.").removeprefix("text.")  # the first of peft
    after = (*_HEADS, *_LAST_NORMS, *_AFTER_TRUNK, "proj.")
    return bare.startswith(after) and "lora_" not in bare


def _unfreeze(clip: nn.Module, names: tuple[str, ...]) -> None:
    for name, parameter in clip.named_parameters():
        if name.removeprefix("text.").startswith(names):
            parameter.requires_grad_(True)


def _with_lora(clip: nn.Module, rank: int) -> nn.Module:
    if rank < 1:
        raise ValueError(f"lora_rank must be positive, not {rank}")
    from peft import LoraConfig, get_peft_model

    updated: nn.Module = get_peft_model(
        clip, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(_LORA_TARGETS))
    )
    _unfreeze(clip, _HEADS)
    for name, module in updated.named_modules():
        # peft adds the update of an attention's output projection twice, forward and at the merge.
        if name.endswith("attn.base_layer.out_proj"):
            module.scaling = {key: scale / 2 for key, scale in module.scaling.items()}
    return updated
