"""Choose the weights of a CLIP model that are trained: heads, last blocks, LoRA, or all."""

from __future__ import annotations

from typing import Any, Literal

from torch import nn

Trained = Literal["heads", "lora", "all"] | int
# Names of weights in an open_clip CLIP: the projections to the joint embedding space with the logit
# scale, and the norms right before the projections.
_HEADS = ("logit_scale", "logit_bias", "text_projection", "visual.proj", "visual.head")
_LAST_NORMS = ("ln_final", "visual.ln_post", "visual.norm")
# The same for an image tower of timm: everything after its blocks.
_AFTER_TRUNK = tuple(f"visual.trunk.{name}" for name in ("norm", "fc_norm", "attn_pool", "head"))
_LORA_TARGETS = ("attn", "c_fc", "c_proj")


def train_only(clip: nn.Module, trained: Trained, *, lora_rank: int = 8) -> nn.Module:
    """Freeze all weights of an open_clip model except those that are trained.

    Args:
        clip: a model of two transformers, such as the ViT models of open_clip. It is changed in
            place.
        trained: the weights that are trained.
            - "heads": the projections to the joint embedding space, and the logit scale.
            - a number ``k``: the heads, the last ``k`` blocks of both towers, and their last norms.
            - "lora": the heads, and low-rank updates of attention and MLPs (Hu et al., 2021;
              through ``peft``).
            - "all": all weights.
        lora_rank: rank of the low-rank updates.

    Returns:
        ``clip`` itself. With "lora" it is wrapped in a model of ``peft``, whose
        ``merge_and_unload()`` gives a plain model again.

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
    """Whether a parameter of a CLIP, by its name, comes after the blocks of its tower.

    These are the last norm, and the projection to the joint embedding space.
    """
    # peft puts the first prefix before the names, open_clip's custom text towers the second.
    bare_name = name.removeprefix("base_model.model.").removeprefix("text.")
    after_blocks = (*_HEADS, *_LAST_NORMS, *_AFTER_TRUNK, "proj.")
    return bare_name.startswith(after_blocks) and "lora_" not in bare_name


def _unfreeze(clip: nn.Module, names: tuple[str, ...]) -> None:
    """Train the parameters whose names start with one of ``names``."""
    for name, parameter in clip.named_parameters():
        if name.removeprefix("text.").startswith(names):
            parameter.requires_grad_(True)


def _with_lora(clip: nn.Module, rank: int) -> nn.Module:
    """Wrap a frozen model with low-rank updates, and unfreeze its heads."""
    if rank < 1:
        raise ValueError(f"lora_rank must be positive, not {rank}")
    from peft import LoraConfig, get_peft_model

    updated: nn.Module = get_peft_model(
        clip, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(_LORA_TARGETS))
    )
    _unfreeze(clip, _HEADS)
    for name, module in updated.named_modules():
        # peft applies the update of the output projection of attention twice, both in the forward
        # pass and in the merge. Half of the scale corrects that.
        if name.endswith("attn.base_layer.out_proj"):
            module.scaling = {key: scale / 2 for key, scale in module.scaling.items()}
    return updated
