"""Region-chunk loss: chunks of a caption find the regions of its image."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structxlip.losses.checks import check_parts, check_rows, unit
from structxlip.losses.contrastive import nce_of_rows
from structxlip.losses.gather import gather_rows, own_groups, sum_workers
from structxlip.losses.precision import full_precision

MAX_SCALE = 100.0


class RegionChunkLoss(nn.Module):
    """Multi-positive InfoNCE from caption chunks ``c`` to the edge regions ``r`` of the batch.

    With ``z_jk = min(logit_scale / temperature, 100) · cos(c_j, r_k)``, a chunk of caption ``i``
    costs ``-log(Σ_{k of image i} exp(z_jk) / Σ_{all k} exp(z_jk))``; the loss is the mean over the
    chunks of a caption, then over captions with at least one chunk and one region. None gives 0
    with a graph.

    Args:
        temperature: above 0.
        gather: compute the loss of the batch of all ``torch.distributed`` workers, with gradient.
    """

    def __init__(self, temperature: float = 1.0, gather: bool = False) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError("temperature must be above 0")
        self.temperature = temperature
        self.gather = gather

    @full_precision
    def forward(
        self,
        chunk_features: Tensor,
        chunk_mask: Tensor,
        region_features: Tensor,
        region_mask: Tensor,
        logit_scale: Tensor | float,
        group_ids: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss of ``N`` pairs.

        Args:
            chunk_features: ``[N, C, D]``, of any norm; ``chunk_mask``: boolean ``[N, C]``.
            region_features: ``[N, K, D]``; ``region_mask``: boolean ``[N, K]``.
            logit_scale: the multiplier itself, not its logarithm.
            group_ids: integer ``[N]``; the regions of all images of a group are positives of the
                chunks of its captions.

        Raises:
            ValueError: shapes that do not fit, a mask that is not boolean, features that are not
                finite.
        """
        check_parts("region", chunk_features, chunk_mask, region_features, region_mask)
        check_rows(len(chunk_features), group_ids=group_ids)
        chunks = unit(chunk_features, chunk_mask, "chunk_features")
        regions = unit(region_features, region_mask, "region_features")
        group_ids = own_groups(group_ids, chunks)
        usable = chunk_mask.any(dim=1) & region_mask.any(dim=1)
        chunk_mask = chunk_mask & usable[:, None]
        owner, region_owner = chunk_mask.nonzero()[:, 0], region_mask.nonzero()[:, 0]
        keys, key_groups = regions[region_mask], group_ids[region_owner]
        if self.gather:
            keys, key_groups, usable = map(gather_rows, (keys, key_groups, usable))
        scale = torch.as_tensor(logit_scale / self.temperature).clamp(max=MAX_SCALE)
        costs = nce_of_rows(scale * chunks[chunk_mask], keys, group_ids[owner], key_groups)
        # A caption counts once, however many chunks it has.
        weight = 1.0 / chunk_mask.sum(dim=1).clamp(min=1)[owner]
        total = (costs * weight).sum()
        return (sum_workers(total) if self.gather else total) / usable.sum().clamp(min=1)
