"""AdamW with a learning rate for each part of a model, and weight decay for matrices only."""

from __future__ import annotations

import math
import re
from collections import defaultdict

import torch
from torch import nn

from structxlip.config import Train
from structxlip.errors import UserError
from structxlip.models.freezing import is_after_blocks

# A block of a transformer: of open_clip, timm, BERT and GPT.
_BLOCK = re.compile(r"^(.*?\.)?(resblocks|blocks|layers?|h)\.(\d+)\.")


def make_optimizer(model: nn.Module, others: nn.Module, settings: Train) -> torch.optim.AdamW:
    """AdamW for a model and for the parameters of its loss ``others``.

    Matrices and convolutions have weight decay; biases, norms and the logit scale have none. A
    trained CLIP may have a learning rate of its own (``clip_learning_rate``), and one that falls
    from block to block towards the input (``layer_decay``; Clark et al., 2020, arXiv 2003.10555).
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = defaultdict(list)
    clip = getattr(model, "clip", None)
    share = layer_shares(clip, settings.layer_decay) if clip is not None else {}
    of_clip = {id(p): name for name, p in clip.named_parameters()} if clip is not None else {}
    for parameter in [*model.parameters(), *others.parameters()]:
        if parameter.requires_grad:
            rate = settings.learning_rate
            if name := of_clip.get(id(parameter)):
                rate = (settings.clip_learning_rate or rate) * share[name]
            decay = settings.weight_decay if parameter.dim() > 1 else 0.0
            groups[rate, decay].append(parameter)
    described = [
        {"params": parameters, "lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]
    return torch.optim.AdamW(described, fused=True)


def layer_shares(clip: nn.Module, decay: float) -> dict[str, float]:
    """The factor on the learning rate of each parameter of a CLIP, by its name.

    The last block of a tower has ``decay``; each block before it has ``decay`` times the factor of
    the next; the embeddings come after the first block. Parameters behind the blocks have 1.

    Raises ``UserError`` for a decay in towers that are not sequences of blocks.
    """
    if decay < 1 and any(".stages." in name for name, _ in clip.named_parameters()):
        raise UserError("train.layer_decay needs transformers as towers; set it to 1.0", 2)
    names = [name for name, _ in clip.named_parameters()]
    places = {name: match for name in names if (match := _BLOCK.match(name))}
    depth: dict[str, int] = defaultdict(int)
    for match in places.values():
        depth[_tower(match[0])] = max(depth[_tower(match[0])], int(match[3]) + 1)

    def share(name: str) -> float:
        if is_after_blocks(name):
            return 1.0
        blocks = depth[_tower(name)]
        return decay ** (blocks - int(places[name][3]) if name in places else blocks + 1)

    return {name: share(name) for name in names}


def _tower(name: str) -> str:
    return "image" if "visual." in name else "text"


def rate_factor(epoch: float, warmup_epochs: int, epochs: int) -> float:
    """The factor on the learning rate: linear warm-up, then half a cosine to 0."""
    if epoch < warmup_epochs:
        return (epoch + 1e-2) / (warmup_epochs + 1e-2)
    return (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs))) / 2
