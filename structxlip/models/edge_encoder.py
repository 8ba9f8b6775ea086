"""The edge encoder: a shallow CNN from an edge map to patch features and one embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# (channels, kernel, stride). The first stride is large: maps at full size would cost most.
# Twice the channels cost 2.6 times as much for the same recall (docs/results.md).
LAYERS = ((24, 7, 4), (48, 3, 2), (80, 3, 2), (112, 3, 2))


class EdgeEncoder(nn.Module):
    """Four strided convolutions on a one-channel edge map; 0.6 M parameters for 256 dimensions.

    It has group norm, because batch statistics would tie the result to the number of workers. It
    keeps a 4 × 4 grid until the projection, because the position of an edge matters.

    Args:
        embed_dim: size ``D`` of the embeddings.
        grid: side of the grid of patch features, ``P = grid²``.
    """

    def __init__(self, embed_dim: int, grid: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        previous = 1
        for channels, kernel, stride in LAYERS:
            layers += [
                nn.Conv2d(previous, channels, kernel, stride, padding=kernel // 2, bias=False),
                nn.GroupNorm(8, channels),
                nn.GELU(),
            ]
            previous = channels
        self.convolutions = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.patch_projection = nn.Linear(previous, embed_dim)
        self.projection = nn.Linear(previous * grid * grid, embed_dim)

    def forward(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``[N, D]`` and patch features ``[N, P, D]`` of maps ``[N, 1, S, S]`` in [0, 1].

        ``S`` is a multiple of 32. Neither is normalised.
        """
        maps = self.convolutions(edges.contiguous(memory_format=torch.channels_last))
        patches = self.pool(maps).flatten(2).transpose(1, 2)
        return self.projection(patches.flatten(1)), self.patch_projection(patches)
