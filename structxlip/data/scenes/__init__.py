"""The built-in dataset: drawn scenes of several objects, and long captions true of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from structxlip.data.scenes.layout import arrange
from structxlip.data.scenes.objects import Image, Relation, SceneObject, Setting, pick
from structxlip.data.scenes.painting import paint
from structxlip.data.scenes.telling import caption
from structxlip.data.scenes.vocabulary import Vocabulary, load_vocabulary

__all__ = [
    "Relation",
    "Scene",
    "SceneObject",
    "Setting",
    "Vocabulary",
    "draw_scene",
    "load_vocabulary",
]

MIN_IMAGE_PX = 64


@dataclass(frozen=True)
class Scene:
    """A drawing and what is said of it; objects are in drawing order, the last one in front.

    ``image`` is uint8 RGB ``[image_px, image_px, 3]``; ``relations`` are those that the captions
    state, in the order of their first mention.
    """

    image: Image
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...]
    relations: tuple[Relation, ...]
    setting: Setting


def draw_scene(
    index: int, *, seed: int, image_px: int, captions_per_image: int, vocabulary: Vocabulary
) -> Scene:
    """Draw scene ``index`` (≥ 0); it depends on the arguments alone, so a dataset can grow.

    Raises ``ValueError`` when ``image_px`` is below 64, or when the phrases of the vocabulary are
    so long or so short that no caption has the right length.
    """
    if image_px < MIN_IMAGE_PX:
        raise ValueError(f"image_px must be at least {MIN_IMAGE_PX}, not {image_px}")
    layout_rng, paint_rng, caption_rng = np.random.default_rng([seed, index]).spawn(3)
    setting = Setting(
        ground=pick(layout_rng, list(vocabulary.grounds)),
        texture=pick(layout_rng, list(vocabulary.textures)),
        light=pick(layout_rng, list(vocabulary.lights)),
    )
    objects = arrange(layout_rng, setting, image_px, vocabulary)
    told = [
        caption(caption_rng, objects, setting, image_px, vocabulary)
        for _ in range(captions_per_image)
    ]
    return Scene(
        image=paint(paint_rng, objects, setting, image_px, vocabulary),
        captions=tuple(text for text, _ in told),
        objects=objects,
        relations=tuple(dict.fromkeys(relation for _, stated in told for relation in stated)),
        setting=setting,
    )
