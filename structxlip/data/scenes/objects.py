"""What a scene holds: objects, their shapes, and how they may stand to each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Phrases = Mapping[str, tuple[str, ...]]
RGB = tuple[int, int, int]
T = TypeVar("T")

OBJECTS = (3, 6)  # fewest and most of a scene
RADII = {"small": (0.07, 0.09), "medium": (0.11, 0.135), "large": (0.165, 0.2)}  # of the image side
ZONES = (  # ninths of the image, row by row
    *("top_left", "top", "top_right"),
    *("left", "centre", "right"),
    *("bottom_left", "bottom", "bottom_right"),
)
INVERSE = {"left_of": "right_of", "above": "below", "next_to": "next_to", "in_front_of": "behind"}


@dataclass(frozen=True)
class SceneObject:
    """One drawn shape.

    ``box`` is ``x, y, w, h`` in pixels, tight around the shape as if nothing covered it, and lies
    inside of the image; ``centre`` (x, y) is its middle. ``radius`` is half of the longer side of
    the upright shape, in pixels; ``tilt`` and ``pattern_angle`` are in degrees; ``rgb`` is the
    paint; ``occluded_by`` are the indices of the objects in front that cover a part of this one.
    """

    shape: str
    colour: str
    pattern: str
    size: str
    box: tuple[int, int, int, int]
    centre: tuple[float, float]
    radius: float
    tilt: float
    mirrored: bool
    pattern_angle: float
    rgb: RGB
    occluded_by: tuple[int, ...] = ()


@dataclass(frozen=True)
class Relation:
    """``subject`` kind ``object``, as indices; ``other`` is the second end of ``between``."""

    subject: int
    kind: str
    object: int
    other: int | None = None


@dataclass(frozen=True)
class Setting:
    """What the objects lie on, and the side that the light comes from."""

    ground: str
    texture: str
    light: str


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """One of some choices."""
    return choices[int(rng.integers(len(choices)))]


def luma(rgb: RGB) -> float:
    """The brightness of a colour, 0 to 255."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


# --- Shapes: contours in the unit square, y down, filled by the even-odd rule


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> Points:
    angle = np.radians(np.linspace(start, stop, 40))
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _polar(radius: Sequence[float] | Points) -> Points:
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False) - np.pi / 2
    return np.asarray(radius)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _unit(*contours: Any) -> list[Points]:
    """Centre contours on their common box and scale its longer side to 2."""
    parts = [np.asarray(contour, dtype=float) for contour in contours]
    points = np.concatenate(parts)
    low, high = points.min(axis=0), points.max(axis=0)
    return [(part - (low + high) / 2) / ((high - low).max() / 2) for part in parts]


_TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_HEART_Y = 5 * np.cos(2 * _TURN) - 13 * np.cos(_TURN) + 2 * np.cos(3 * _TURN)
SHAPES: dict[str, list[Points]] = {
    "circle": _unit(_arc(0, 360)),
    "square": _unit([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": _unit([(0, -1), (1, 0.8), (-1, 0.8)]),
    "star": _unit(_polar([1, 0.42] * 5)),
    "cross": _unit(
        [
            *[(-1, -3), (1, -3), (1, -1), (3, -1), (3, 1), (1, 1)],
            *[(1, 3), (-1, 3), (-1, 1), (-3, 1), (-3, -1), (-1, -1)],
        ]
    ),
    "ring": _unit(_arc(0, 360), _arc(0, 360, 0.55)),
    "arrow": _unit(
        [(-1, -0.3), (0.1, -0.3), (0.1, -0.8), (1, 0), (0.1, 0.8), (0.1, 0.3), (-1, 0.3)]
    ),
    "heart": _unit(np.stack([16 * np.sin(_TURN) ** 3, _HEART_Y], axis=1)),
    "crescent": _unit(np.concatenate([_arc(50, 310), _arc(288, 72, 0.81, x=0.39)])),
    "house": _unit(
        [(-0.8, 1), (-0.8, -0.1), (-1, -0.1), (0, -1), (1, -0.1), (0.8, -0.1), (0.8, 1)],
        [(-0.2, 1), (-0.2, 0.35), (0.25, 0.35), (0.25, 1)],
    ),
    "hexagon": _unit(_polar([1] * 6)),
    "diamond": _unit([(0, -1), (0.62, 0), (0, 1), (-0.62, 0)]),
    "fish": _unit(
        np.concatenate([_arc(155, -155) * (0.75, 0.5), [(-1.2, -0.5), (-1.0, 0), (-1.2, 0.5)]])
    ),
    "tree": _unit(
        [
            *[(0, -1), (0.5, -0.3), (0.25, -0.3), (0.75, 0.5), (0.15, 0.5), (0.15, 1)],
            *[(-0.15, 1), (-0.15, 0.5), (-0.75, 0.5), (-0.25, -0.3), (-0.5, -0.3)],
        ]
    ),
    "boat": _unit(
        [(-1, 0.4), (1, 0.4), (0.6, 1), (-0.7, 1)], [(-0.1, -1), (0.75, 0.25), (-0.1, 0.25)]
    ),
    "flower": _unit(_polar(1 + 0.32 * np.cos(5 * _TURN)), _arc(0, 360, 0.3)),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "outlined")
TEXTURES = ("smooth", "gradient", "grain", "lines", "blotches", "scratches")
LIGHTS = {"left": np.pi, "right": 0.0, "top": -np.pi / 2, "bottom": np.pi / 2}  # where it is


def object_mask(thing: SceneObject, image_px: int) -> Image:
    """The pixels of an object if nothing covered it: 0 or 1, ``[image_px, image_px]``."""
    angle = np.radians(thing.tilt)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    parts = [part * (1 - 2 * thing.mirrored, 1) @ turn for part in SHAPES[thing.shape]]
    points = np.concatenate(parts)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    scale, shift = 16 * thing.radius, np.array(thing.centre) * 16  # cv2's shift=4: 1/16 pixel
    contours = [np.rint((p - middle) * scale + shift).astype(np.int32) for p in parts]
    mask = np.zeros((image_px, image_px), np.uint8)
    return cv2.fillPoly(mask, contours, 1, shift=4)  # type: ignore[return-value]
