"""Draw a scene: background, objects, light, and the blur and noise of a camera."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.data.scenes.objects import (
    LIGHTS,
    Image,
    Plane,
    SceneObject,
    Setting,
    luma,
    object_mask,
)
from structxlip.data.scenes.vocabulary import Vocabulary


def paint(
    rng: np.random.Generator,
    objects: Sequence[SceneObject],
    setting: Setting,
    image_px: int,
    vocabulary: Vocabulary,
) -> Image:
    """Draw the background and the objects, then apply light, gamma, blur and sensor noise.

    The objects draw nothing from ``rng``, so that an object which is left out changes its own
    pixels only.

    Args:
        rng: source of all random draws.
        objects: the last one in front.
        setting: the background and the light.
        image_px: side of the square image, in pixels.
        vocabulary: the colours of the grounds.

    Returns:
        RGB, ``uint8 [image_px, image_px, 3]``.
    """
    axis = np.linspace(-1, 1, image_px, dtype=np.float32)
    light_angle = LIGHTS[setting.light]
    # Captions name the side of the light, so a gradient of the background must not run against it.
    gradient_angle = light_angle + rng.uniform(-np.pi / 2, np.pi / 2)
    texture = _texture(rng, setting.texture, axis, gradient_angle)
    ground = vocabulary.grounds[setting.ground]
    canvas = np.asarray(cv2.merge([texture + level for level in ground]), np.float32)
    for thing in objects:
        _paint_object(canvas, thing)
    light = 1 + _ramp(axis, light_angle) * np.float32(rng.uniform(0.2, 0.35))
    # With dtype, OpenCV rounds and clips to 0 … 255.
    lit = cv2.multiply(canvas, cv2.merge([light] * 3), dtype=cv2.CV_8U)
    gamma = (np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.3) * 255).astype(np.uint8)
    blurred = cv2.GaussianBlur(cv2.LUT(lit, gamma), (0, 0), rng.uniform(0.4, 1.0) * image_px / 160)
    noise = rng.standard_normal((image_px, image_px), dtype=np.float32) * rng.uniform(2, 8)
    return np.asarray(cv2.add(blurred, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def _ramp(axis: Plane, angle: float) -> Plane:
    """A plane that rises along ``angle``, by 1 over half of the image, ``[image_px, image_px]``.

    ``axis`` holds the coordinates from -1 to 1, ``[image_px]``; ``angle`` is in radians, y down.
    """
    return np.float32(np.cos(angle)) * axis[None, :] + np.float32(np.sin(angle)) * axis[:, None]


def _texture(rng: np.random.Generator, kind: str, axis: Plane, angle: float) -> Plane:
    """Grey levels that a texture adds to the ground, ``[image_px, image_px]``.

    ``axis`` and ``angle`` as in ``_ramp``: the direction of a gradient, and that across lines.
    """
    side, ramp = axis.size, _ramp(axis, angle)
    if kind == "gradient":
        return ramp * np.float32(35)
    if kind == "grain":
        noise = rng.standard_normal((side, side), dtype=np.float32)
        return cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(rng.uniform(20, 35))
    if kind == "lines":
        period, depth = rng.uniform(0.1, 0.2), rng.uniform(15, 35)
        return np.where(ramp % period < 0.03, np.float32(-depth), np.float32(0))
    if kind == "blotches":
        coarse = rng.standard_normal((9, 9), dtype=np.float32) * np.float32(16)
        return cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)  # type: ignore[return-value]
    strokes = np.zeros((side, side), np.float32)
    if kind == "scratches":
        starts = rng.integers(0, side, size=(40, 2))
        ends = starts + rng.integers(-side // 8, side // 8 + 1, size=(40, 2))
        for start, end, depth in zip(starts, ends, rng.uniform(-55, 55, size=40), strict=True):
            cv2.line(strokes, start.tolist(), end.tolist(), float(depth))
    return strokes


def _paint_object(canvas: Plane, thing: SceneObject) -> None:
    """Draw an object into ``canvas``, RGB ``[image_px, image_px, 3]``."""
    x, y, w, h = thing.box
    mask = object_mask(thing, canvas.shape[0])[y : y + h, x : x + w].astype(bool)
    colour = np.array(thing.rgb, np.float32)
    pattern_colour = colour / 2 if luma(thing.rgb) > 100 else (colour + 255) / 2
    area = canvas[y : y + h, x : x + w]
    area[mask] = colour
    area[mask & _pattern(thing, mask)] = pattern_colour


def _pattern(thing: SceneObject, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of the box, ``[h, w]``, that get the second colour of the pattern."""
    if thing.pattern == "plain":
        return np.zeros_like(mask)
    if thing.pattern == "outlined":
        width = max(3, round(thing.radius * 0.3)) | 1
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        inner = cv2.erode(padded, np.ones((width, width), np.uint8))
        return inner[1:-1, 1:-1] == 0
    period = thing.radius * {"striped": 0.5, "dotted": 0.6, "checked": 0.9}[thing.pattern]
    angle = np.radians(thing.pattern_angle)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]] / period
    u = (x * np.cos(angle) + y * np.sin(angle)) % 1
    if thing.pattern == "striped":
        return u < 0.5
    v = (y * np.cos(angle) - x * np.sin(angle)) % 1
    if thing.pattern == "checked":
        return (u < 0.5) ^ (v < 0.5)
    return np.hypot(u - 0.5, v - 0.5) < 0.28
