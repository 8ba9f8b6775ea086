"""The built-in dataset: drawn scenes of several objects, with long captions that describe them."""

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
    """A drawn scene and its captions.

    Attributes:
        image: RGB, ``uint8 [image_px, image_px, 3]``.
        captions: ``captions_per_image`` captions.
        objects: in the order in which they are drawn; the last one is in front.
        relations: those that the captions state, in the order of their first mention.
        setting: the background and the light.
    """

    image: Image
    captions: tuple[str, ...]
    objects: tuple[SceneObject, ...]
    relations: tuple[Relation, ...]
    setting: Setting


def draw_scene(
    index: int, *, seed: int, image_px: int, captions_per_image: int, vocabulary: Vocabulary
) -> Scene:
    """Draw one scene. It depends on the arguments alone, so that a dataset can grow.

    Args:
        index: number of the scene, from 0.
        seed: random seed of the dataset.
        image_px: side of the square image, in pixels, at least ``MIN_IMAGE_PX``.
        captions_per_image: captions to write. More captions change neither the image nor the
            first captions.
        vocabulary: names, colours and phrases, from ``load_vocabulary``.

    Raises:
        ValueError: an ``image_px`` below ``MIN_IMAGE_PX``, or a vocabulary whose phrases are so
            long or so short that no caption has the right length.
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
    texts_and_relations = [
        caption(caption_rng, objects, setting, image_px, vocabulary)
        for _ in range(captions_per_image)
    ]
    return Scene(
        image=paint(paint_rng, objects, setting, image_px, vocabulary),
        captions=tuple(text for text, _ in texts_and_relations),
        objects=objects,
        relations=tuple(
            dict.fromkeys(relation for _, stated in texts_and_relations for relation in stated)
        ),
        setting=setting,
    )
