"""Objects of different shapes laid one over another, each still recognisable."""

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

MIN_VISIBLE = 0.6  # of an object's own pixels, whatever covers it
MIN_COVER = 0.15  # of the smaller of two objects: what touches by less would be a matter of taste
MIN_CONTRAST = 25.0  # grey levels between an object and the background


def arrange(
    rng: np.random.Generator, setting: Setting, image_px: int, vocabulary: Vocabulary
) -> tuple[SceneObject, ...]:
    """Lay objects of different shapes one over another, so that each stays recognisable."""
    count = int(rng.integers(OBJECTS[0], OBJECTS[1] + 1))
    shapes = rng.permutation(list(vocabulary.shapes))[:count].tolist()
    colours = _colours_on(vocabulary.grounds[setting.ground], vocabulary.colours)
    objects: list[SceneObject] = []
    masks: list[Image] = []
    visible: list[Image] = []
    while len(objects) < count:
        thing, mask = _throw(rng, shapes[len(objects)], colours, image_px)
        left = [seen & ~mask for seen in visible]
        areas = [cv2.countNonZero(other) for other in masks]
        if any(cv2.countNonZero(s) < MIN_VISIBLE * a for s, a in zip(left, areas, strict=True)):
            continue
        covered = [cv2.countNonZero(other & mask) for other in masks]
        least = [MIN_COVER * min(area, cv2.countNonZero(mask)) for area in areas]
        if any(0 < pixels < bound for pixels, bound in zip(covered, least, strict=True)):
            continue
        below = [i for i, pixels in enumerate(covered) if pixels]
        if any(objects[i].colour == thing.colour for i in below):
            continue
        for i in below:
            by = (*objects[i].occluded_by, len(objects))
            objects[i] = replace(objects[i], occluded_by=by)
        objects.append(thing)
        masks.append(mask)
        visible = [*left, mask]
    return tuple(objects)


def _colours_on(ground: RGB, colours: Mapping[str, RGB]) -> dict[str, RGB]:
    """The colours that stand out from a ground in brightness; the best one if none does."""
    contrast = {name: abs(luma(rgb) - luma(ground)) for name, rgb in colours.items()}
    least = min(MIN_CONTRAST, max(contrast.values()))
    return {name: rgb for name, rgb in colours.items() if contrast[name] >= least}


def _throw(
    rng: np.random.Generator, shape: str, colours: Mapping[str, RGB], image_px: int
) -> tuple[SceneObject, Image]:
    """An object anywhere in the image, and its mask."""
    size = pick(rng, list(RADII))
    radius = rng.uniform(*RADII[size])
    # Clear of the lines between the ninths, and inside of the image even when tilted.
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
