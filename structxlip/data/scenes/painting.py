"""The drawing itself: background, objects, light, and the noise of a sensor."""

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
    """Draw the setting and the objects, then light, gamma, blur and noise of the sensor.

    The objects draw nothing from ``rng``: leaving one out changes its own pixels only.
    """
    axis = np.linspace(-1, 1, image_px, dtype=np.float32)
    towards = LIGHTS[setting.light]
    # A gradient of the paint may run across the light, but not against it: captions tell the light.
    texture = _texture(rng, setting.texture, axis, towards + rng.uniform(-np.pi / 2, np.pi / 2))
    ground = vocabulary.grounds[setting.ground]
    canvas = np.asarray(cv2.merge([texture + level for level in ground]), np.float32)
    for thing in objects:
        _paint_object(canvas, thing)
    light = 1 + _ramp(axis, towards) * np.float32(rng.uniform(0.2, 0.35))
    lit = cv2.multiply(canvas, cv2.merge([light] * 3), dtype=cv2.CV_8U)  # cv2 rounds and saturates
    curve = (np.linspace(0, 1, 256) ** rng.uniform(0.75, 1.3) * 255).astype(np.uint8)
    seen = cv2.GaussianBlur(cv2.LUT(lit, curve), (0, 0), rng.uniform(0.4, 1.0) * image_px / 160)
    noise = rng.standard_normal((image_px, image_px), dtype=np.float32) * rng.uniform(2, 8)
    return np.asarray(cv2.add(seen, cv2.merge([noise] * 3), dtype=cv2.CV_8U), np.uint8)


def _ramp(axis: Plane, angle: float) -> Plane:
    """A plane that rises along ``angle`` (radians, y down), by 1 over half of the image."""
    return np.float32(np.cos(angle)) * axis[None, :] + np.float32(np.sin(angle)) * axis[:, None]


def _texture(rng: np.random.Generator, kind: str, axis: Plane, angle: float) -> Plane:
    """Grey levels that a texture adds, ``[image_px, image_px]``; ``axis`` runs from -1 to 1."""
    side, across = axis.size, _ramp(axis, angle)
    if kind == "gradient":
        return across * np.float32(35)
    if kind == "grain":
        noise = rng.standard_normal((side, side), dtype=np.float32)
        return cv2.GaussianBlur(noise, (0, 0), 0.7) * np.float32(rng.uniform(20, 35))
    if kind == "lines":
        period, depth = rng.uniform(0.1, 0.2), rng.uniform(15, 35)
        return np.where(across % period < 0.03, np.float32(-depth), np.float32(0))
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
    x, y, w, h = thing.box
    mask = object_mask(thing, canvas.shape[0])[y : y + h, x : x + w].astype(bool)
    first = np.array(thing.rgb, np.float32)
    second = first / 2 if luma(thing.rgb) > 100 else (first + 255) / 2
    area = canvas[y : y + h, x : x + w]
    area[mask] = first
    area[mask & _pattern(thing, mask)] = second


def _pattern(thing: SceneObject, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pixels of the box have the second colour of the pattern."""
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
