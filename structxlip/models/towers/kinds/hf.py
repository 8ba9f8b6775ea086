"""Towers `hf:FOLDER`: one side of a ``CLIPModel`` of transformers, converted to open_clip."""

from structxlip.models.towers.kinds.open_clip import image_tower, text_tower

__all__ = ["image_tower", "text_tower"]
