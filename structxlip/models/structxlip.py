"""StructXLIP on frozen towers: projection heads, an edge encoder and the logit scale."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypedDict

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from structxlip.errors import UserError
from structxlip.losses import Features
from structxlip.models.edge_encoder import EdgeEncoder

MAX_LOG_SCALE = math.log(100)


class Batch(TypedDict, total=False):
    """``N`` pairs as cached features of the towers; the structural part may be absent."""

    image: Tensor  # [N, Di]
    caption: Tensor  # [N, Dt]
    group_ids: Tensor  # integer [N]
    structure: Tensor  # [N, Dt]
    chunks: Tensor  # [N, C, Dt]
    chunk_mask: Tensor  # boolean [N, C]
    edges: Tensor  # [N, 1, S, S] in [0, 1]
    has_structure: Tensor  # boolean [N]


@dataclass(frozen=True)
class ModelConfig:
    """What it takes to build the model again; saved beside its weights."""

    image_tower: str
    text_tower: str
    image_px: int
    max_tokens: int
    image_dim: int
    text_dim: int
    embed_dim: int
    hidden_dim: int
    dropout: float
    aligned: bool  # the towers share a space already: the heads start as the identity
    edges: bool  # whether there is an edge encoder


class ProjectionHead(nn.Module):
    """From a frozen tower's feature to the joint space.

    Features of aligned towers get a residual MLP that starts at the identity, so that an untrained
    head is the zero-shot model; others are standardised with the statistics of the training split
    (``set_statistics``) and projected by an MLP.
    """

    def __init__(
        self, in_dim: int, embed_dim: int, hidden_dim: int, dropout: float, *, residual: bool
    ) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.residual = residual
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("std", torch.ones(in_dim))
        last = nn.Linear(hidden_dim, embed_dim)
        if residual:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
        self.mlp = nn.Sequential(
            nn.Linear(in_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), last
        )

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation ``[in_dim]`` of the features of the training split."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-4))

    def forward(self, features: Tensor) -> Tensor:
        """``[…, in_dim] -> […, embed_dim]``, not normalised."""
        standard = (features - self.mean) / self.std
        if self.residual:
            return features + features.norm(dim=-1, keepdim=True) * self.mlp(standard)
        return self.mlp(standard)


class StructXLIP(nn.Module):
    """The trained part of the `seed` recipe, over cached features of frozen towers."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        if config.aligned and not config.image_dim == config.text_dim == config.embed_dim:
            raise UserError(
                f"aligned towers keep their embedding size; set model.embed_dim to "
                f"{config.image_dim}",
                2,
            )

        def head(in_dim: int) -> ProjectionHead:
            return ProjectionHead(
                in_dim,
                config.embed_dim,
                config.hidden_dim,
                config.dropout,
                residual=config.aligned,
            )

        self.image_head, self.text_head = head(config.image_dim), head(config.text_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if config.edges:
            self.edge_encoder = EdgeEncoder(config.embed_dim)

    def forward(self, batch: Batch) -> Features:
        """The named features that ``CompositeLoss`` takes."""
        features = Features(
            image_features=self.image_head(batch["image"]),
            text_features=self.text_head(batch["caption"]),
            logit_scale=self.logit_scale.exp(),
            group_ids=batch["group_ids"],
        )
        if self.config.edges:
            edge_features, patch_features = self.edge_encoder(batch["edges"])
            features |= Features(
                edge_features=edge_features,
                patch_features=patch_features,
                structure_features=self.text_head(batch["structure"]),
                chunk_features=self.text_head(batch["chunks"]),
                chunk_mask=batch["chunk_mask"],
                has_structure=batch["has_structure"],
            )
        return features

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the multiplier at 100 or below, as CLIP does."""
        self.logit_scale.clamp_(max=MAX_LOG_SCALE)

    @torch.inference_mode()
    def embed_images(self, image: Tensor, edges: Tensor | None, alpha: float) -> Tensor:
        """Unit embeddings ``normalise(v + alpha·e)``, ``[N, D]``; ``alpha`` 0 is plain CLIP.

        ``edges``: maps ``[N, 1, S, S]``, needed when ``alpha`` is not 0; an all-zero map adds
        nothing.
        """
        embeddings = normalize(self.image_head(image), dim=-1)
        if alpha:
            assert edges is not None, "the edge branch needs edge maps"
            edge_features, _ = self.edge_encoder(edges)
            present = edges.flatten(1).any(dim=1)[:, None]
            embeddings = normalize(
                embeddings + alpha * present * normalize(edge_features, dim=-1), dim=-1
            )
        return embeddings

    @torch.inference_mode()
    def embed_texts(self, text: Tensor) -> Tensor:
        """Unit embeddings ``[M, D]`` of pooled text features ``[M, Dt]``."""
        return normalize(self.text_head(text), dim=-1)

    def save(self, directory: Path) -> None:
        """Write ``model.safetensors`` and ``config.json``."""
        weights = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(weights, directory / "model.safetensors")
        (directory / "config.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n")

    @classmethod
    def load(cls, directory: Path) -> StructXLIP:
        """The model of a folder, in evaluation mode.

        Raises ``UserError`` naming missing and unexpected weights, or a file that is not there.
        """
        try:
            config = json.loads((directory / "config.json").read_text())
            weights = load_file(directory / "model.safetensors")
        except (OSError, ValueError) as error:
            raise UserError(f"{directory} holds no StructXLIP model ({error})") from None
        model = cls(ModelConfig(**config))
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise UserError(f"{directory}: {' '.join(str(error).split())}") from None
        return model.eval()
