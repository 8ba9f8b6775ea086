"""The composite loss: the CLIP loss, and the structural losses that StructXLIP adds."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

from torch import Tensor, nn

from structxlip.losses.contrastive import ContrastiveLoss
from structxlip.losses.cosine import CosineConsistencyLoss
from structxlip.losses.features import Features
from structxlip.losses.precision import full_precision
from structxlip.losses.projected_l2 import ProjectedL2ConsistencyLoss
from structxlip.losses.region_chunk import RegionChunkLoss
from structxlip.losses.region_chunk_attention import RegionChunkAttentionLoss

Variant = Literal["patches", "regions"]


class CompositeLoss(nn.Module):
    """``L = λ_c L_clip + λ_et L_et + λ_rc L_rc + λ_ei L_ei + …``; losses of weight 0 are skipped.

    Args:
        dim: size ``D`` of the embeddings.
        clip: weight ``λ_c`` of the CLIP loss.
        edge_text: weight ``λ_et`` of the edge-text loss.
        region_chunk: weight ``λ_rc`` of the region-chunk loss.
        edge_image: weight ``λ_ei`` of the edge-image loss.
        variant: `patches` has ``RegionChunkAttentionLoss`` and ``ProjectedL2ConsistencyLoss``;
            `regions` has ``RegionChunkLoss`` and ``CosineConsistencyLoss``.
        attention_temperature: of the region-chunk loss of `patches`.
        temperature: of the region-chunk loss.
        extra: weights of further losses by the name of their file; see ``find_loss``.
        gather: compute the losses of the batch of all ``torch.distributed`` workers.

    Raises:
        ValueError: all weights are 0, or ``extra`` names no loss.
    """

    def __init__(
        self,
        dim: int,
        *,
        clip: float = 1.0,
        edge_text: float = 0.0,
        region_chunk: float = 0.0,
        edge_image: float = 0.0,
        variant: Variant = "patches",
        attention_temperature: float = 0.1,
        temperature: float = 0.07,
        extra: Mapping[str, float] | None = None,
        gather: bool = False,
    ) -> None:
        super().__init__()
        self.weights = {
            "clip": clip,
            "edge_text": edge_text,
            "region_chunk": region_chunk,
            "edge_image": edge_image,
            **(extra or {}),
        }
        if not any(self.weights.values()):
            raise ValueError("at least one weight must not be 0")
        self.contrastive = ContrastiveLoss(gather=gather)
        self.region_chunk: RegionChunkAttentionLoss | RegionChunkLoss
        self.edge_image: ProjectedL2ConsistencyLoss | CosineConsistencyLoss
        if variant == "patches":
            self.region_chunk = RegionChunkAttentionLoss(
                attention_temperature, temperature, gather=gather
            )
        else:
            self.region_chunk = RegionChunkLoss(temperature, gather=gather)
            self.edge_image = CosineConsistencyLoss(gather=gather)
        if variant == "patches" and edge_image:  # no projection that no loss would train
            self.edge_image = ProjectedL2ConsistencyLoss(dim, gather=gather)
        self.extra = nn.ModuleDict({name: find_loss(name)(gather=gather) for name in extra or {}})

    @full_precision
    def forward(
        self, features: Features, factors: Mapping[str, float] | None = None
    ) -> dict[str, Tensor]:
        """The named ``*_loss`` terms, unweighted, and their weighted sum ``loss``.

        ``factors`` multiply the weights of the losses that they name, for a schedule
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
                loss = compute[name](features) if name in compute else self._extra(name, features)
                losses[f"{name}_loss"] = loss
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
            # Images and captions alone learn the temperature: edges are the harder view.
            features["logit_scale"].detach(),
            valid=features["has_structure"],
            group_ids=features.get("group_ids"),
        )
        return loss

    def _region_chunk(self, features: Features) -> Tensor:
        usable = features["has_structure"][:, None]
        chunks = features["chunk_features"], features["chunk_mask"]
        groups = features.get("group_ids")
        loss: Tensor
        if isinstance(self.region_chunk, RegionChunkLoss):
            mask = features["region_mask"] & usable
            scale = features["logit_scale"].detach()
            regions = features["region_features"]
            loss = self.region_chunk(*chunks, regions, mask, scale, groups)
        else:
            patches = features["patch_features"]
            mask = usable.expand(patches.shape[:2])
            loss = self.region_chunk(*chunks, patches, mask, groups)
        return loss

    def _edge_image(self, features: Features) -> Tensor:
        loss: Tensor = self.edge_image(
            features["image_features"], features["edge_features"], features["has_structure"]
        )
        return loss

    def _extra(self, name: str, features: Features) -> Tensor:
        """A loss that was added: the names of its arguments say which features it needs."""
        module = self.extra[name]
        wanted = inspect.signature(module.forward).parameters
        given: Any = features
        if missing := [argument for argument in wanted if argument not in given]:
            raise ValueError(f"the loss {name} needs {', '.join(missing)}; the model has none")
        loss: Tensor = module(**{argument: given[argument] for argument in wanted})
        return loss


def find_loss(name: str) -> type[nn.Module]:
    """The loss in the file ``structxlip/losses/<name>.py``: the module class that it defines.

    Its constructor takes ``gather``; the arguments of its ``forward`` are keys of ``Features``.

    Raises ``ValueError`` for a name without such a file, or a file without one module class.
    """
    path = f"structxlip.losses.{name}"
    try:
        module = import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise ValueError(f"there is no loss {name}: add structxlip/losses/{name}.py") from None
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, nn.Module) and value.__module__ == path
    ]
    if len(found) != 1:
        raise ValueError(f"structxlip/losses/{name}.py must define one nn.Module, not {len(found)}")
    return found[0]
