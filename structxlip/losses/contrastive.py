"""Symmetric InfoNCE with several positives: the CLIP loss and the edge-text loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structxlip.losses.checks import check_features, check_rows, unit
from structxlip.losses.gather import gather_rows


def multi_positive_nce(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over rows of ``-log(Σ_positives exp(z) / Σ_all exp(z))``; a scalar.

    ``logits`` and boolean ``positives`` are ``[N, M]``. With one positive a row this is the cross
    entropy of InfoNCE (van den Oord et al., 2018). No row gives 0.
    """
    lowest = torch.finfo(logits.dtype).min
    positive = logits.masked_fill(~positives, lowest).logsumexp(dim=1)
    return (logits.logsumexp(dim=1) - positive).sum() / max(len(logits), 1)


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
            image_features, text_features: ``[N, D]``, of any norm.
            logit_scale: the multiplier itself, not its logarithm.
            valid: boolean ``[N]``; False leaves a pair out of rows and columns. None valid gives 0
                with a graph that still back-propagates.
            group_ids: integer ``[N]``; pairs of equal ids (the same image or caption) are
                positives of each other.

        Raises:
            ValueError: shapes that do not fit, or a mask that is not boolean.
        """
        check_features(image_features, text_features)
        check_rows(len(image_features), valid=valid, group_ids=group_ids)
        image_features, text_features = unit(image_features), unit(text_features)
        if self.gather:
            image_features, text_features = gather_rows(image_features), gather_rows(text_features)
            valid = gather_rows(valid) if valid is not None else None
            group_ids = gather_rows(group_ids) if group_ids is not None else None
        if group_ids is None:
            group_ids = torch.arange(len(image_features), device=image_features.device)
        if valid is not None:
            image_features, text_features = image_features[valid], text_features[valid]
            group_ids = group_ids[valid]
        logits = logit_scale * image_features @ text_features.T
        positives = group_ids[:, None] == group_ids[None, :]
        forth, back = multi_positive_nce(logits, positives), multi_positive_nce(logits.T, positives)
        return (forth + back) / 2
