"""The edge encoder: a shallow CNN from an edge map to patch features and one embedding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

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
        layers: channels, kernel and stride of each convolution. The first stride is the largest
            that is used: a small map gets a smaller one, so that every patch is a place of its own.

    Attributes:
        least_px: side of the smallest map that it reads, in pixels.
    """

    def __init__(
        self, embed_dim: int, grid: int = 4, layers: Sequence[tuple[int, int, int]] = LAYERS
    ) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        previous = 1
        for channels, kernel, stride in layers:
            modules += [
                nn.Conv2d(previous, channels, kernel, stride, padding=kernel // 2, bias=False),
                nn.GroupNorm(8, channels),
                nn.GELU(),
            ]
            previous = channels
        self.convolutions = nn.Sequential(*modules).to(memory_format=torch.channels_last)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.patch_projection = nn.Linear(previous, embed_dim)
        self.projection = nn.Linear(previous * grid * grid, embed_dim)
        self.first_stride = layers[0][2]
        self.least_px = grid * math.prod(stride for _, _, stride in layers[1:])

    def forward(self, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``[N, D]`` and patch features ``[N, P, D]`` of maps ``[N, 1, S, S]`` in [0, 1].

        Neither is normalised. Raises ``ValueError`` for maps below ``least_px``.
        """
        side = min(edges.shape[-2:])
        if side < self.least_px:
            raise ValueError(
                f"an edge map of {side} px has no {self.pool.output_size} × "
                f"{self.pool.output_size} patches; take at least {self.least_px} px"
            )
        first: Any
        first, *others = self.convolutions
        stride = min(self.first_stride, side // self.least_px)
        maps = edges.contiguous(memory_format=torch.channels_last)
        maps = conv2d(maps, first.weight, stride=stride, padding=first.padding)
        for module in others:
            maps = module(maps)
        patches = self.pool(maps).flatten(2).transpose(1, 2)
        return self.projection(patches.flatten(1)), self.patch_projection(patches)
