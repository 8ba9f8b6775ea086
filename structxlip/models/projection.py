"""Heads on the features of frozen towers: of images and texts, and of edge maps."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from structxlip.models.dropout import RowDropout

LEAST_DEVIATION = 1e-4


class ProjectionHead(nn.Module):
    """Maps the features of a frozen tower to the joint space.

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
            nn.Linear(in_dim, hidden_dim), nn.GELU(), RowDropout(dropout), last
        )

    def set_statistics(self, mean: Tensor, std: Tensor) -> None:
        """Mean and standard deviation ``[in_dim]`` of the features of the training split."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=LEAST_DEVIATION))

    def forward(self, features: Tensor) -> Tensor:
        """``[…, in_dim] -> […, embed_dim]``, not normalised."""
        standard = (features - self.mean) / self.std
        if self.residual:
            return features + features.norm(dim=-1, keepdim=True) * self.mlp(standard)
        return self.mlp(standard)


class TowerBranch(nn.Module):
    """An edge branch of heads on what a frozen image tower makes of the edge maps.

    The head of the embedding is as the head of images, on the mean of the patches. A patch is
    standardised and projected.

    Args:
        in_dim: size ``Di`` of the features of the tower.
        embed_dim: size ``D`` of the embeddings.
        hidden_dim: hidden units of the head.
        dropout: share of them that a step leaves out.
        residual: whether the towers are aligned; see ``ProjectionHead``.
    """

    def __init__(
        self, in_dim: int, embed_dim: int, hidden_dim: int, dropout: float, *, residual: bool
    ) -> None:
        super().__init__()
        self.head = ProjectionHead(in_dim, embed_dim, hidden_dim, dropout, residual=residual)
        self.patch_mean: Tensor
        self.patch_std: Tensor
        self.register_buffer("patch_mean", torch.zeros(in_dim))
        self.register_buffer("patch_std", torch.ones(in_dim))
        self.patch_projection = nn.Linear(in_dim, embed_dim)

    def set_statistics(self, features: Tensor) -> None:
        """Take mean and standard deviation from features ``[n, P, Di]`` of training maps."""
        pooled = features.mean(dim=1)
        self.head.set_statistics(pooled.mean(dim=0), pooled.std(dim=0, correction=0))
        self.patch_mean.copy_(features.mean(dim=(0, 1)))
        deviation = features.std(dim=(0, 1), correction=0)
        self.patch_std.copy_(deviation.clamp(min=LEAST_DEVIATION))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``[N, D]`` and patch features ``[N, P, D]`` of features ``[N, P, Di]``.

        Neither is normalised.
        """
        patches = (features - self.patch_mean) / self.patch_std
        return self.head(features.mean(dim=1)), self.patch_projection(patches)
