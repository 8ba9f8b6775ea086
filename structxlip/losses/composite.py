"""The composite loss: the CLIP loss, and the three structural losses that StructXLIP adds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypedDict

from torch import Tensor, nn

from structxlip.losses.contrastive import ContrastiveLoss
from structxlip.losses.cosine import CosineConsistencyLoss
from structxlip.losses.projected_l2 import ProjectedL2ConsistencyLoss
from structxlip.losses.region_chunk import RegionChunkLoss
from structxlip.losses.region_chunk_attention import RegionChunkAttentionLoss


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


Recipe = Literal["seed", "paper"]


class Features(TypedDict, total=False):
    """What a model hands to the loss for ``N`` pairs; the edge and chunk parts may be absent."""

    image_features: Tensor  # [N, D]
    text_features: Tensor  # [N, D]
    logit_scale: Tensor  # the multiplier
    group_ids: Tensor  # integer [N]
    edge_features: Tensor  # [N, D]
    structure_features: Tensor  # [N, D], of the structural caption
    has_structure: Tensor  # boolean [N]
    chunk_features: Tensor  # [N, C, D]
    chunk_mask: Tensor  # boolean [N, C]
    patch_features: Tensor  # [N, P, D], for the recipe `seed`
    region_features: Tensor  # [N, K, D], for the recipe `paper`
    region_mask: Tensor  # boolean [N, K]


class CompositeLoss(nn.Module):
    """``L = λ_c L_clip + λ_et L_et + λ_rc L_rc + λ_ei L_ei``; terms of weight 0 are not computed.

    Args:
        dim: size ``D`` of the embeddings.
        clip, edge_text, region_chunk, edge_image: the weights ``λ``; the defaults are plain CLIP.
        recipe: `seed` has ``RegionChunkAttentionLoss`` and ``ProjectedL2ConsistencyLoss``, `paper`
            has ``RegionChunkLoss`` and ``CosineConsistencyLoss``.
        attention_temperature: of the region-chunk loss of `seed`.
        temperature: of the region-chunk loss.
        gather: compute the losses of the batch of all ``torch.distributed`` workers.
    """

    def __init__(
        self,
        dim: int,
        *,
        clip: float = 1.0,
        edge_text: float = 0.0,
        region_chunk: float = 0.0,
        edge_image: float = 0.0,
        recipe: Recipe = "seed",
        attention_temperature: float = 0.1,
        temperature: float = 0.07,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "clip": clip,
            "edge_text": edge_text,
            "region_chunk": region_chunk,
            "edge_image": edge_image,
        }
        if not any(self.weights.values()):
            raise ValueError("at least one weight must not be 0")
        self.contrastive = ContrastiveLoss(gather=gather)
        self.region_chunk: RegionChunkAttentionLoss | RegionChunkLoss
        self.edge_image: ProjectedL2ConsistencyLoss | CosineConsistencyLoss
        if recipe == "seed":
            self.region_chunk = RegionChunkAttentionLoss(
                attention_temperature, temperature, gather=gather
            )
        else:
            self.region_chunk = RegionChunkLoss(temperature, gather=gather)
            self.edge_image = CosineConsistencyLoss(gather=gather)
        if recipe == "seed" and edge_image:  # a projection that no loss trains is left out
            self.edge_image = ProjectedL2ConsistencyLoss(dim, gather=gather)

    def forward(
        self, features: Features, factors: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """The named ``*_loss`` terms, unweighted, and their weighted sum ``loss``.

        ``factors`` scale the weights of the terms that they name, for a schedule
        (``weight_schedule``).
        """
        compute = {
            "clip": self._clip,
            "edge_text": self._edge_text,
            "region_chunk": self._region_chunk,
            "edge_image": self._edge_image,
        }
        losses, total = {}, features["image_features"].new_zeros(())
        for name, weight in self.weights.items():
            if weight:
                losses[f"{name}_loss"] = loss = compute[name](features)
                total = total + (factors or {}).get(name, 1.0) * weight * loss
        return losses | {"loss": total}

    def _clip(self, features: Features) -> Tensor:
        loss: Tensor = self.contrastive(
            features["image_features"],
            features["text_features"],
            features["logit_scale"],
            group_ids=features.get("group_ids"),
        )
        return loss

    def _edge_text(self, features: Features) -> Tensor:
        loss: Tensor = self.contrastive(
            features["edge_features"],
            features["structure_features"],
            # The temperature is the image-text pair's to learn: edges are the harder view.
            features["logit_scale"].detach(),
            valid=features["has_structure"],
            group_ids=features.get("group_ids"),
        )
        return loss

    def _region_chunk(self, features: Features) -> Tensor:
        usable = features["has_structure"][:, None]
        chunks = features["chunk_features"], features["chunk_mask"]
        loss: Tensor
        if isinstance(self.region_chunk, RegionChunkLoss):
            mask = features["region_mask"] & usable
            scale = features["logit_scale"].detach()
            loss = self.region_chunk(*chunks, features["region_features"], mask, scale)
        else:
            patches = features["patch_features"]
            loss = self.region_chunk(*chunks, patches, usable.expand(patches.shape[:2]))
        return loss

    def _edge_image(self, features: Features) -> Tensor:
        loss: Tensor = self.edge_image(
            features["image_features"], features["edge_features"], features["has_structure"]
        )
        return loss
