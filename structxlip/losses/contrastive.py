"""Symmetric InfoNCE with several positives: the CLIP loss and the edge-text loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from structxlip.losses.checks import check_pairs, check_rows, unit
from structxlip.losses.gather import gather_rows, own_groups, sum_workers
from structxlip.losses.precision import full_precision

# Above so many logits a loss works on blocks of rows, and computes each block again in the backward
# pass: this bounds its memory.
BLOCK_ELEMENTS = 2**24


def multi_positive_nce(logits: Tensor, positives: Tensor) -> Tensor:
    """``-log(Σ_positives exp(z) / Σ_all exp(z))`` of each row of the logits ``z``, ``[N]``.

    ``logits`` and boolean ``positives`` are ``[N, M]``. With one positive a row this is the cross
    entropy of InfoNCE (van den Oord et al., 2018).
    """
    lowest = torch.finfo(logits.dtype).min
    return logits.logsumexp(dim=1) - logits.masked_fill(~positives, lowest).logsumexp(dim=1)


def symmetric_nce(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean multi-positive InfoNCE of rows and columns of ``[N, N]`` logits; no row gives 0."""
    costs = multi_positive_nce(logits, positives) + multi_positive_nce(logits.T, positives)
    return costs.sum() / (2 * max(len(logits), 1))


def nce_of_rows(queries: Tensor, keys: Tensor, groups: Tensor, key_groups: Tensor) -> Tensor:
    """Multi-positive InfoNCE of each query, ``[N]``, in blocks of queries.

    The logits are ``queries [N, D]`` times ``keys [M, D]``; those of equal groups (``[N]`` and
    ``[M]``) are positives.
    """
    block = max(BLOCK_ELEMENTS // max(len(keys), 1), 1)
    costs = [
        checkpoint(_nce, q, keys, g, key_groups, use_reentrant=False)
        for q, g in zip(queries.split(block), groups.split(block), strict=True)
    ]
    return torch.cat(costs)


def _nce(queries: Tensor, keys: Tensor, groups: Tensor, key_groups: Tensor) -> Tensor:
    return multi_positive_nce(queries @ keys.T, groups[:, None] == key_groups)


class Pairs(NamedTuple):
    """Valid pairs as unit features ``images [n, D]`` and ``texts [n, D]``, with ``groups [n]``."""

    images: Tensor
    texts: Tensor
    groups: Tensor

    @property
    def at_once(self) -> bool:
        """Whether the logits of all pairs fit into one block."""
        return len(self.images) ** 2 <= BLOCK_ELEMENTS

    @property
    def positives(self) -> Tensor:
        """Boolean ``[n, n]``: True where pairs ``i`` and ``j`` have the same group."""
        return self.groups[:, None] == self.groups


def batch_of_pairs(
    image_features: Tensor,
    text_features: Tensor,
    valid: Tensor | None,
    group_ids: Tensor | None,
    *,
    gather: bool,
) -> tuple[Pairs, Pairs]:
    """The valid pairs of this worker, and those of all workers with ``gather``."""
    check_pairs(image_features, text_features, ("image_features", "text_features"))
    check_rows(len(image_features), valid=valid, group_ids=group_ids)
    images = unit(image_features, valid, "image_features")
    texts = unit(text_features, valid, "text_features")
    own = Pairs(images, texts, own_groups(group_ids, images))
    if valid is not None:
        own = Pairs(*(part[valid] for part in own))
    return own, Pairs(*map(gather_rows, own)) if gather else own


class ContrastiveLoss(nn.Module):
    """The loss of CLIP (Radford et al., 2021), with several positives where a batch has them.

    Over the logits ``z = logit_scale · a·bᵀ`` of L2-normalised features, the mean of the
    image→text and text→image multi-positive InfoNCE. Both ``L_clip`` and ``L_et`` are this loss.
    A worker computes the rows and columns of its own pairs, and of large batches in blocks.

    Args:
        gather: compute the loss of the batch of all ``torch.distributed`` workers, with gradient.

    Example:
        >>> loss = ContrastiveLoss()
        >>> loss(torch.eye(4), torch.eye(4), logit_scale=100.0)
        tensor(0.)
    """

    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    @full_precision
    def forward(
        self,
        image_features: Tensor,
        text_features: Tensor,
        logit_scale: Tensor | float,
        valid: Tensor | None = None,
        group_ids: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss of ``N`` pairs.

        Args:
            image_features: ``[N, D]``, of any norm.
            text_features: ``[N, D]``, of any norm.
            logit_scale: the multiplier itself, not its logarithm.
            valid: boolean ``[N]``; False leaves a pair out of rows and columns. None valid gives 0
                with a graph that still back-propagates.
            group_ids: integer ``[N]``; pairs of equal ids (the same image or caption) are
                positives of each other.

        Raises:
            ValueError: shapes that do not fit, a mask that is not boolean, features that are not
                finite.
        """
        own, every = batch_of_pairs(
            image_features, text_features, valid, group_ids, gather=self.gather
        )
        if every.images is own.images and own.at_once:  # one product gives both ways
            return symmetric_nce(logit_scale * own.images @ own.texts.T, own.positives)
        costs = nce_of_rows(logit_scale * own.images, every.texts, own.groups, every.groups)
        costs = costs + nce_of_rows(logit_scale * own.texts, every.images, own.groups, every.groups)
        total = sum_workers(costs.sum()) if self.gather else costs.sum()
        return total / (2 * max(len(every.images), 1))
