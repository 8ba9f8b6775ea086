"""The pairwise sigmoid loss of SigLIP, in the place of the contrastive loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.utils.checkpoint import checkpoint

from structxlip.losses.contrastive import BLOCK_ELEMENTS, batch_of_pairs
from structxlip.losses.gather import sum_workers
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
        own, every = batch_of_pairs(
            image_features, text_features, valid, group_ids, gather=self.gather
        )
        block = max(BLOCK_ELEMENTS // max(len(every.texts), 1), 1)
        scaled = logit_scale * own.images
        costs = [
            checkpoint(self._cost, images, every.texts, groups, every.groups, use_reentrant=False)
            for images, groups in zip(scaled.split(block), own.groups.split(block), strict=True)
        ]
        total = torch.stack(costs).sum()
        return (sum_workers(total) if self.gather else total) / max(len(every.texts), 1)

    def _cost(self, images: Tensor, texts: Tensor, groups: Tensor, text_groups: Tensor) -> Tensor:
        """The sum of the costs of some images with all texts."""
        logits = images @ texts.T + self.logit_bias
        signs = (groups[:, None] == text_groups).to(logits.dtype) * 2 - 1
        return -logsigmoid(signs * logits).sum()
