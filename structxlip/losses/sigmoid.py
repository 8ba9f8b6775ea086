"""The pairwise sigmoid loss of SigLIP, in the place of the contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from structxlip.losses.contrastive import batch_of_pairs
from structxlip.losses.precision import full_precision


class SigmoidContrastiveLoss(nn.Module):
    """Every image-text pair of the batch is a yes-or-no question (SigLIP; Zhai et al., 2023).

    ``-1/N Σ_ij log σ(y_ij (logit_scale · a_i·b_j + logit_bias))`` over L2-normalised features, with
    ``y = 1`` for positives and -1 for all others. The bias is learned here, so that the loss is
    called as ``ContrastiveLoss`` is.

    Args:
        logit_bias: where the bias starts; SigLIP's -10 makes up for the many negatives.
        gather: compute the loss of the batch of all ``torch.distributed`` workers, with gradient.
    """

    def __init__(self, logit_bias: float = -10.0, gather: bool = False) -> None:
        super().__init__()
        self.logit_bias = nn.Parameter(torch.tensor(logit_bias))
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
        """The scalar loss of ``N`` pairs; arguments and errors are those of ``ContrastiveLoss``."""
        images, texts, positives = batch_of_pairs(
            image_features, text_features, valid, group_ids, gather=self.gather
        )
        logits = logit_scale * images @ texts.T + self.logit_bias
        signs = positives.to(logits.dtype) * 2 - 1
        return -logsigmoid(signs * logits).sum() / max(len(logits), 1)
