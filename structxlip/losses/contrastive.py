"""Symmetric InfoNCE with several positives: the CLIP loss and the edge-text loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structxlip.losses.checks import check_pairs, check_rows, unit
from structxlip.losses.gather import gather_groups, gather_rows
from structxlip.losses.precision import full_precision


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


def batch_of_pairs(
    image_features: Tensor,
    text_features: Tensor,
    valid: Tensor | None,
    group_ids: Tensor | None,
    *,
    gather: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The valid pairs of all workers as unit features ``[n, D]``, and which are positives of each
    other, boolean ``[n, n]``."""
    check_pairs(image_features, text_features, ("image_features", "text_features"))
    check_rows(len(image_features), valid=valid, group_ids=group_ids)
    images = unit(image_features, valid, "image_features")
    texts = unit(text_features, valid, "text_features")
    if gather:
        images, texts = gather_rows(images), gather_rows(texts)
        valid = gather_rows(valid) if valid is not None else None
    group_ids = gather_groups(group_ids, images, gather=gather)
    if valid is not None:
        images, texts, group_ids = images[valid], texts[valid], group_ids[valid]
    return images, texts, group_ids[:, None] == group_ids


class ContrastiveLoss(nn.Module):
    """The loss of CLIP (Radford et al., 2021), with several positives where a batch has them.

    Over the logits ``z = logit_scale · a·bᵀ`` of L2-normalised features, the mean of the
    image→text and text→image multi-positive InfoNCE. Both ``L_clip`` and ``L_et`` are this loss.

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
        images, texts, positives = batch_of_pairs(
            image_features, text_features, valid, group_ids, gather=self.gather
        )
        return symmetric_nce(logit_scale * images @ texts.T, positives)
