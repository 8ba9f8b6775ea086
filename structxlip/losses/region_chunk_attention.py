"""Region-chunk loss: chunks of a caption attend over edge patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from structxlip.losses.checks import check_parts, check_rows, unit
from structxlip.losses.contrastive import symmetric_nce
from structxlip.losses.gather import gather_rows, own_groups
from structxlip.losses.precision import full_precision

# Above so many attention weights the loss works on blocks of images, and computes each block again
# in the backward pass: this bounds its memory.
BLOCK_ELEMENTS = 2**24


class RegionChunkAttentionLoss(nn.Module):
    """Local alignment of caption chunks ``c`` with edge patches ``p``, contrastive over the batch.

    For a chunk ``j`` of caption ``i`` and image ``i'``:
    ``a = Σ_k softmax_k(c_j·p_k / attention_temperature) p_k``, ``S(i, i') = mean_j cos(c_j, a)``;
    the loss is the symmetric InfoNCE over ``S / temperature``. Captions without a chunk and images
    without a valid patch are left out; none left gives 0 with a graph.

    Args:
        attention_temperature: of the attention of chunks over patches, above 0.
        temperature: of the contrastive loss, above 0.
        gather: compute the loss of the batch of all ``torch.distributed`` workers, with gradient.
    """

    def __init__(
        self, attention_temperature: float = 0.1, temperature: float = 0.07, gather: bool = False
    ) -> None:
        super().__init__()
        if attention_temperature <= 0 or temperature <= 0:
            raise ValueError("temperatures must be above 0")
        self.attention_temperature = attention_temperature
        self.temperature = temperature
        self.gather = gather

    @full_precision
    def forward(
        self,
        chunk_features: Tensor,
        chunk_mask: Tensor,
        patch_features: Tensor,
        patch_mask: Tensor | None = None,
        group_ids: Tensor | None = None,
    ) -> Tensor:
        """The scalar loss of ``N`` pairs.

        Args:
            chunk_features: ``[N, C, D]``, of any norm; ``chunk_mask``: boolean ``[N, C]``.
            patch_features: ``[N, P, D]``; ``patch_mask``: boolean ``[N, P]``, all by default.
            group_ids: integer ``[N]``; pairs of equal ids are positives of each other.

        Raises:
            ValueError: shapes that do not fit, a mask that is not boolean, features that are not
                finite.
        """
        if patch_mask is None:
            patch_mask = patch_features.new_ones(patch_features.shape[:-1], dtype=torch.bool)
        check_parts("patch", chunk_features, chunk_mask, patch_features, patch_mask)
        check_rows(len(chunk_features), group_ids=group_ids)
        chunks = unit(chunk_features, chunk_mask, "chunk_features")
        patches = unit(patch_features, patch_mask, "patch_features")
        usable = chunk_mask.any(dim=1) & patch_mask.any(dim=1)
        chunks, chunk_mask = chunks[usable], chunk_mask[usable]
        groups = own_groups(group_ids, patches)[usable]
        if self.gather:
            chunks, chunk_mask, groups = map(gather_rows, (chunks, chunk_mask, groups))
        similarity = self._similarity(chunks, chunk_mask, patches[usable], patch_mask[usable])
        if self.gather:  # each worker has the columns of its own images
            similarity = gather_rows(similarity.T).T
        return symmetric_nce(similarity / self.temperature, groups[:, None] == groups)

    def _similarity(
        self, chunks: Tensor, chunk_mask: Tensor, patches: Tensor, patch_mask: Tensor
    ) -> Tensor:
        """``S``, ``[captions, images]``, in blocks of images."""
        owner = chunk_mask.nonzero()[:, 0]
        flat = chunks[chunk_mask]
        per_image = max(len(flat) * patches.shape[1], 1)
        block = max(BLOCK_ELEMENTS // per_image, 1)
        share = 1.0 / chunk_mask.sum(dim=1).clamp(min=1)[owner]

        def block_of(flat: Tensor, patches: Tensor, mask: Tensor) -> Tensor:
            cosine = share[:, None] * self._chunk_cosine(flat, patches, mask)
            return cosine.new_zeros(len(chunks), len(patches)).index_add(0, owner, cosine)

        if len(patches) <= block:
            return block_of(flat, patches, patch_mask)
        columns = [
            checkpoint(block_of, flat, p, m, use_reentrant=False)
            for p, m in zip(patches.split(block), patch_mask.split(block), strict=True)
        ]
        return torch.cat(columns, dim=1)

    def _chunk_cosine(self, chunks: Tensor, patches: Tensor, patch_mask: Tensor) -> Tensor:
        """``cos(c_j, a)`` of every chunk ``[M, D]`` with every image ``[B, P, D]``: ``[M, B]``."""
        return chunk_cosines(chunks, patches, self.attention_temperature, patch_mask)


def chunk_cosines(
    chunks: Tensor, patches: Tensor, attention_temperature: float, patch_mask: Tensor | None = None
) -> Tensor:
    """The cosine of each chunk ``c`` with what it attends to in each image, ``[M, B]``.

    What it attends to, ``a``, is never made: with the weights ``w`` of the patches ``p``,
    ``c·a = w·(c·p)`` and ``|a|² = wᵀ G w`` where ``G`` is the Gram matrix of the patches.

    Args:
        chunks: ``[M, D]``, of unit norm.
        patches: ``[B, P, D]``, of unit norm or 0.
        attention_temperature: above 0.
        patch_mask: boolean ``[B, P]``, all by default.
    """
    scores = (chunks @ patches.flatten(0, 1).T).unflatten(1, patches.shape[:2])
    gram = patches @ patches.transpose(1, 2)
    logits = scores / attention_temperature
    if patch_mask is not None:
        logits = logits.masked_fill(~patch_mask, torch.finfo(scores.dtype).min)
    weights = logits.softmax(dim=-1)
    dot = (weights * scores).sum(dim=-1)
    attended = torch.einsum("mbp,bpq->mbq", weights, gram)
    norm = (attended * weights).sum(dim=-1).clamp(min=1e-12).sqrt()
    return dot / norm
