"""Place the objects of a scene, so that each stays recognisable where others overlap it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from structxlip.data.scenes.objects import (
    OBJECTS,
    PATTERNS,
    RADII,
    RGB,
    Image,
    SceneObject,
    Setting,
    luma,
    object_mask,
    pick,
)
from structxlip.data.scenes.vocabulary import Vocabulary

MIN_VISIBLE = 0.6  # share of an object's pixels that no other object covers
# Share of the smaller of two objects that the other one covers, unless they are apart. With less,
# it would be unclear whether one is in front of the other.
MIN_COVER = 0.15
MIN_CONTRAST = 25.0  # grey levels between an object and the background


def arrange(
    rng: np.random.Generator, setting: Setting, image_px: int, vocabulary: Vocabulary
) -> tuple[SceneObject, ...]:
    """Place 3 to 6 objects of different shapes at random. Each later one is in front.

    An object is drawn again until it leaves enough of the others visible, covers either nothing or
    a clear part of each of them, and differs in colour from the objects that it covers.

    Args:
        rng: source of all random draws.
        setting: its ground decides which colours stand out.
        image_px: side of the square image, in pixels.
        vocabulary: the shapes and colours.

    Returns:
        The objects, the last one in front.
    """
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    shapes = rng.permutation(list(vocabulary.shapes))[:count].tolist()
    colours = _contrasting_colours(vocabulary.grounds[setting.ground], vocabulary.colours)
    objects: list[SceneObject] = []
    masks: list[Image] = []
    visible_masks: list[Image] = []
    while len(objects) < count:
        thing, mask = _random_object(rng, shapes[len(objects)], colours, image_px)
        still_visible = [visible & ~mask for visible in visible_masks]
        areas = [cv2.countNonZero(other) for other in masks]
        if any(
            cv2.countNonZero(visible) < MIN_VISIBLE * area
            for visible, area in zip(still_visible, areas, strict=True)
        ):
            continue
        covered = [cv2.countNonZero(other & mask) for other in masks]
        min_covered = [MIN_COVER * min(area, cv2.countNonZero(mask)) for area in areas]
        if any(0 < pixels < least for pixels, least in zip(covered, min_covered, strict=True)):
            continue
        behind = [i for i, pixels in enumerate(covered) if pixels]
        if any(objects[i].colour == thing.colour for i in behind):
            continue
        for i in behind:
            occluded_by = (*objects[i].occluded_by, len(objects))
            objects[i] = replace(objects[i], occluded_by=occluded_by)
        objects.append(thing)
        masks.append(mask)
        visible_masks = [*still_visible, mask]
    return tuple(objects)


def _contrasting_colours(ground: RGB, colours: Mapping[str, RGB]) -> dict[str, RGB]:
    """The colours that differ from a ground by ``MIN_CONTRAST``; if none does, the best one."""
    contrast = {name: abs(luma(rgb) - luma(ground)) for name, rgb in colours.items()}
    min_contrast = min(MIN_CONTRAST, max(contrast.values()))
    return {name: rgb for name, rgb in colours.items() if contrast[name] >= min_contrast}


def _random_object(
    rng: np.random.Generator, shape: str, colours: Mapping[str, RGB], image_px: int
) -> tuple[SceneObject, Image]:
    """An object at a random place in the image, and its mask, 0 or 1, ``[image_px, image_px]``."""
    size = pick(rng, list(RADII))
    radius = rng.uniform(*RADII[size])
    # The centre keeps clear of the lines between the ninths, so that its position has one name. The
    # inset keeps even a tilted shape inside of the image.
    inset = 1.2 * radius
    x, y = (
        min(max((cell + within) / 3, inset), 1 - inset) * image_px
        for cell, within in zip(rng.integers(3, size=2), rng.uniform(0.1, 0.9, size=2), strict=True)
    )
    colour = pick(rng, list(colours))
    r, g, b = np.clip(np.add(colours[colour], rng.integers(-12, 13, size=3)), 0, 255)
    thing = SceneObject(
        shape=shape,
        colour=colour,
        pattern=pick(rng, PATTERNS),
        size=size,
        box=(0, 0, 0, 0),  # known once it is drawn
        centre=(float(x), float(y)),
        radius=float(radius * image_px),
        tilt=float(rng.uniform(-12, 12)),
        mirrored=bool(rng.integers(2)),
        pattern_angle=float(rng.uniform(0, 180)),
        rgb=(int(r), int(g), int(b)),
    )
    mask = object_mask(thing, image_px)
    left, top, width, height = cv2.boundingRect(mask)
    return replace(thing, box=(left, top, width, height)), mask
