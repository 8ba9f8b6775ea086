"""Frozen image towers: from images to features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from structxlip.errors import UserError
from structxlip.features.store import RowSpec
from structxlip.models.towers.precision import autocast


class ImageTower(nn.Module):
    """A frozen image encoder.

    Args:
        network: maps ``[N, 3, image_px, image_px]`` to ``[N, D]``.
        mean: per-channel mean of images in [0, 1] that it was trained with.
        std: per-channel standard deviation of these images.
    """

    def __init__(
        self, network: nn.Module, image_px: int, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.standardise = Standardise(mean, std)
        self.image_px = image_px
        with torch.inference_mode():
            self.dim = int(self.network(torch.zeros(1, 3, image_px, image_px)).shape[-1])
        self.row = RowSpec("float32", (self.dim,))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pooled features ``[N, D]`` of pixels ``uint8 [N, image_px, image_px, 3]``."""
        features: Tensor = self.network(self.standardise(pixels))
        return features

    def patches(self, pixels: Tensor, grid: int) -> Tensor:
        """Features ``[N, grid², D]`` of the patches of pixels, as ``forward`` takes them; see
        ``encode_patches``."""
        if grid == 1:
            return self(pixels)[:, None]
        find: Any = getattr(self.network, "forward_features", None)
        if find is None:
            raise UserError(
                "edges.tower_grid: this image tower tells no patches; set it to 1, and the weight "
                "of region_chunk to 0",
                2,
            )
        maps = find(self.standardise(pixels))
        if maps.ndim == 3:  # tokens of a transformer, the class token first
            tokens = maps[:, getattr(self.network, "num_prefix_tokens", 0) :]
            side = math.isqrt(tokens.shape[1])
            maps = tokens.transpose(1, 2).unflatten(2, (side, side))
        elif maps.shape[1] != self.dim:  # channels last, as Swin has them
            maps = maps.permute(0, 3, 1, 2)
        return adaptive_avg_pool2d(maps.float(), grid).flatten(2).transpose(1, 2)

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Pooled features ``[N, D]`` of RGB images ``uint8 [height, width, 3]`` of any size.

        The whole image is resized to the square input, as its edge map is.
        """
        pixels = torch.from_numpy(squares(images, self.image_px))
        with autocast(self.standardise.mean.device):
            features = self(pixels)
        return features.float().cpu().numpy()

    @torch.inference_mode()
    def encode_patches(self, images: Sequence[NDArray[np.uint8]], grid: int) -> NDArray[np.float32]:
        """Features ``[N, grid², D]`` of the patches of images, as ``encode`` takes them.

        With ``grid`` 1 they are the pooled features. Raises ``UserError`` for a tower that tells no
        patches.
        """
        pixels = torch.from_numpy(squares(images, self.image_px))
        with autocast(self.standardise.mean.device):
            patches = self.patches(pixels, grid)
        return patches.float().cpu().numpy()


class Standardise(nn.Module):
    """Standardises pixels for an image encoder.

    Args:
        mean: per-channel mean of images in [0, 1].
        std: per-channel standard deviation of images in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """``uint8 [N, S, S, 3]``, or maps in [0, 1] ``[N, 1, S, S]``, to ``[N, 3, S, S]``."""
        if pixels.dtype == torch.uint8:
            pixels = pixels.to(self.mean.device).permute(0, 3, 1, 2).float().div_(255)
        standard = (pixels - self.mean) / self.std
        return standard.contiguous(memory_format=torch.channels_last)


def squares(images: Sequence[NDArray[np.uint8]], side: int) -> NDArray[np.uint8]:
    """Resize images of any size to ``[N, side, side, 3]``: area averages when they shrink (no
    aliasing), linear interpolation when they grow."""
    return np.stack(
        [
            cv2.resize(
                image,
                (side, side),
                interpolation=cv2.INTER_AREA if image.shape[0] > side else cv2.INTER_LINEAR,
            )
            for image in images
        ]
    ).astype(np.uint8, copy=False)


def check_image_px(name: str, visual: Any, image_px: int) -> None:
    """Raise ``UserError`` unless the image encoder of a CLIP takes images of that size."""
    if visual.image_size not in (image_px, (image_px, image_px)):
        raise UserError(
            f"{name} takes images of {visual.image_size} px; set model.image_px to that", 2
        )
