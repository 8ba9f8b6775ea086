"""The composite loss: the CLIP loss, and the three structural losses that StructXLIP adds."""

from __future__ import annotations

import math
from typing import TypedDict

from torch import Tensor, nn

from structxlip.losses.consistency import ProjectedL2ConsistencyLoss
from structxlip.losses.contrastive import ContrastiveLoss
from structxlip.losses.region_chunk import RegionChunkAttentionLoss


def weight_schedule(
    base: float,
    epoch: float,
    *,
    warm: float = 0,
    decay_start: float | None = None,
    decay_end: float | None = None,
    floor: float = 1.0,
) -> float:
    """The weight of a loss at an epoch (counted from 0, fractions allowed).

    Linear from 0 over the first ``warm`` epochs, then ``base`` until ``decay_start``, then half a
    cosine down to ``floor * base`` at ``decay_end``, and constant after. Without a decay it stays.
    """
    if epoch < warm:
        return base * epoch / warm
    if decay_start is None or decay_end is None or epoch <= decay_start:
        return base
    done = min((epoch - decay_start) / (decay_end - decay_start), 1.0)
    return base * (floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2)


class Features(TypedDict, total=False):
    """What a model hands to the loss for ``N`` pairs; the edge and chunk parts may be absent."""

    image_features: Tensor  # [N, D]
    text_features: Tensor  # [N, D]
    logit_scale: Tensor  # the multiplier
    group_ids: Tensor  # integer [N]
    edge_features: Tensor  # [N, D]
    patch_features: Tensor  # [N, P, D]
    structure_features: Tensor  # [N, D]
    chunk_features: Tensor  # [N, C, D]
    chunk_mask: Tensor  # boolean [N, C]
    has_structure: Tensor  # boolean [N]


class CompositeLoss(nn.Module):
    """``L = L_clip + λ_et L_et + λ_rc L_rc + λ_ei L_ei``; terms of weight 0 are not computed.

    Args:
        dim: size ``D`` of the embeddings.
        edge_text, region_chunk, edge_image: the weights ``λ``; all 0 is plain CLIP.
        attention_temperature, temperature: of the region-chunk loss.
        gather: compute the losses of the batch of all ``torch.distributed`` workers.
    """

    def __init__(
        self,
        dim: int,
        *,
        edge_text: float = 0.0,
        region_chunk: float = 0.0,
        edge_image: float = 0.0,
        attention_temperature: float = 0.1,
        temperature: float = 0.07,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "edge_text": edge_text,
            "region_chunk": region_chunk,
            "edge_image": edge_image,
        }
        self.contrastive = ContrastiveLoss(gather=gather)
        if region_chunk:
            self.region_chunk = RegionChunkAttentionLoss(
                attention_temperature, temperature, gather=gather
            )
        if edge_image:
            self.edge_image = ProjectedL2ConsistencyLoss(dim, gather=gather)

    def forward(self, features: Features, weight_factor: float = 1.0) -> dict[str, Tensor]:
        """The named ``*_loss`` terms, unweighted, and their weighted sum ``loss``.

        ``weight_factor`` scales the structural weights, for a schedule (``weight_schedule``).
        """
        scale = features["logit_scale"]
        losses = {
            "clip_loss": self.contrastive(
                features["image_features"],
                features["text_features"],
                scale,
                group_ids=features.get("group_ids"),
            )
        }
        if self.weights["edge_text"]:
            losses["edge_text_loss"] = self.contrastive(
                features["edge_features"],
                features["structure_features"],
                # The temperature is the image-text pair's to learn: edges are the harder view.
                scale.detach(),
                valid=features["has_structure"],
                group_ids=features.get("group_ids"),
            )
        if self.weights["region_chunk"]:
            patches = features["patch_features"]
            losses["region_chunk_loss"] = self.region_chunk(
                features["chunk_features"],
                features["chunk_mask"],
                patches,
                features["has_structure"][:, None].expand(patches.shape[:2]),
            )
        if self.weights["edge_image"]:
            losses["edge_image_loss"] = self.edge_image(
                features["image_features"], features["edge_features"], features["has_structure"]
            )
        total = losses["clip_loss"]
        for name, weight in self.weights.items():
            if weight:
                total = total + weight_factor * weight * losses[f"{name}_loss"]
        return losses | {"loss": total}
