"""Towers `open_clip:NAME/PRETRAINED` and the like: one side of a CLIP model of open_clip."""

from __future__ import annotations

from structxlip.models.towers.clip import shared_clip
from structxlip.models.towers.image import ImageTower, check_image_px
from structxlip.models.towers.text import ClipTextTower, TextTower


def image_tower(name: str, image_px: int, max_tokens: int | None) -> ImageTower:
    """The image side of the CLIP."""
    visual = shared_clip(name, max_tokens).model.visual
    check_image_px(name, visual, image_px)
    return ImageTower(visual, image_px, visual.image_mean, visual.image_std)


def text_tower(name: str, max_tokens: int | None) -> TextTower:
    """The text side of the CLIP."""
    return ClipTextTower(shared_clip(name, max_tokens))
