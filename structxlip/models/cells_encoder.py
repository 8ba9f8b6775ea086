"""The reader of cells: three convolutions from oriented gradients to patch features and one
embedding."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.functional import conv2d

from structxlip.models.dropout import RowDropout

WIDTHS = (64, 96, 128)
DROPOUT = 0.2


class CellsEncoder(nn.Module):
    """Three 3 × 3 convolutions on the cells of a cue; 0.7 M parameters for 256 dimensions.

    An outline of cells says more than one of pixels, so that little has to be learned, and an epoch
    takes a fraction of the time of ``EdgeEncoder``. It has group norm, because batch statistics
    would tie the result to the number of workers.

    Args:
        embed_dim: size ``D`` of the embeddings.
        channels: orientations of a cell.
        grid: side of the grid of patch features, ``P = grid²``.
    """

    def __init__(self, embed_dim: int, channels: int, grid: int = 4) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        previous = channels
        for width in WIDTHS:
            modules += [
                nn.Conv2d(previous, width, 3, padding=1, bias=False),
                nn.GroupNorm(8, width),
                nn.GELU(),
            ]
            previous = width
        self.convolutions = nn.Sequential(*modules)
        self.pool = nn.AdaptiveAvgPool2d(grid)
        self.drop = RowDropout(DROPOUT)
        self.patch_projection = nn.Linear(previous, embed_dim)
        self.projection = nn.Linear(previous * grid * grid, embed_dim)
        self.channels, self.grid = channels, grid

    def forward(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding ``[N, D]`` and patch features ``[N, P, D]`` of cells ``[N, channels, S, S]``
        in [0, 1].

        Neither is normalised. Raises ``ValueError`` for other channels, or fewer than ``grid``
        cells a side.
        """
        if cells.shape[1] != self.channels or min(cells.shape[-2:]) < self.grid:
            raise ValueError(
                f"needs cells [N, {self.channels}, S, S] with S >= {self.grid}, "
                f"not {list(cells.shape)}"
            )
        maps = cells
        for number, module in enumerate(self.convolutions):
            if isinstance(module, nn.Conv2d):
                # The grid shrinks from the second convolution on, while patches stay apart.
                halves = number > 0 and maps.shape[-1] >= 2 * self.grid
                stride: Any = 2 if halves else 1
                maps = conv2d(maps, module.weight, stride=stride, padding=1)
            else:
                maps = module(maps)
        patches = self.pool(maps).flatten(2).transpose(1, 2)
        return self.projection(self.drop(patches.flatten(1))), self.patch_projection(patches)
