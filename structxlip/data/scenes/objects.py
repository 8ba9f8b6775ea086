"""The objects of a scene: their attributes, their shapes and their relations."""

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

OBJECTS = (3, 6)  # fewest and most in a scene
# Range of the radius for each size, as a share of the side of the image.
RADII = {"small": (0.07, 0.09), "medium": (0.11, 0.135), "large": (0.165, 0.2)}
ZONES = (  # ninths of the image, row by row
    *("top_left", "top", "top_right"),
    *("left", "centre", "right"),
    *("bottom_left", "bottom", "bottom_right"),
)
INVERSE = {"left_of": "right_of", "above": "below", "next_to": "next_to", "in_front_of": "behind"}


@dataclass(frozen=True)
class SceneObject:
    """One drawn object.

    Attributes:
        shape: its name in the vocabulary.
        colour: its name in the vocabulary.
        pattern: its name in the vocabulary.
        size: its name in the vocabulary.
        box: ``x, y, w, h`` in pixels, tight around the whole shape, covered parts included. It lies
            inside of the image.
        centre: x and y of the middle of the box, in pixels.
        radius: half of the longer side of the shape before its tilt, in pixels.
        tilt: rotation of the shape, in degrees.
        mirrored: whether the shape is flipped left to right.
        pattern_angle: rotation of the pattern, in degrees.
        rgb: the colour as drawn, before the light, each channel from 0 to 255.
        occluded_by: indices of the objects in front that cover a part of this one.
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
    """A relation of two objects, or of three for the kind `between`.

    Attributes:
        subject: index of the object that the relation describes.
        kind: such as `left_of`: the subject is to the left of the object.
        object: index of the object that the subject is related to.
        other: index of the second such object, for `between`; else None.
    """

    subject: int
    kind: str
    object: int
    other: int | None = None


@dataclass(frozen=True)
class Setting:
    """The background of a scene, and its light.

    Attributes:
        ground: name of the colour of the background.
        texture: name of the texture of the background, one of ``TEXTURES``.
        light: the side that the light comes from, one of ``LIGHTS``.
    """

    ground: str
    texture: str
    light: str


def pick(rng: np.random.Generator, choices: Sequence[T]) -> T:
    """Pick one of ``choices`` at random."""
    return choices[int(rng.integers(len(choices)))]


def luma(rgb: RGB) -> float:
    """The brightness of a colour, from 0 to 255 (luma of ITU-R BT.601)."""
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


# --- Shapes: contours ``[n, 2]`` of x and y from -1 to 1, y down, filled by the even-odd rule


def _arc(start: float, stop: float, radius: float = 1.0, x: float = 0.0, y: float = 0.0) -> Points:
    """40 points on a circle around (x, y), from the angle ``start`` to ``stop``, in degrees."""
    angle = np.radians(np.linspace(start, stop, 40))
    return np.stack([x + radius * np.cos(angle), y + radius * np.sin(angle)], axis=1)


def _polar(radius: Sequence[float] | Points) -> Points:
    """A closed contour from its radius at angles of equal steps, clockwise from the top."""
    angle = np.linspace(0, 2 * np.pi, len(radius), endpoint=False) - np.pi / 2
    return np.asarray(radius)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _unit(*contours: Any) -> list[Points]:
    """Move contours so that their common box is centred on 0, and scale its longer side to 2."""
    arrays = [np.asarray(contour, dtype=float) for contour in contours]
    points = np.concatenate(arrays)
    low, high = points.min(axis=0), points.max(axis=0)
    return [(array - (low + high) / 2) / ((high - low).max() / 2) for array in arrays]


_FULL_TURN = np.linspace(0, 2 * np.pi, 60, endpoint=False)
_HEART_Y = 5 * np.cos(2 * _FULL_TURN) - 13 * np.cos(_FULL_TURN) + 2 * np.cos(3 * _FULL_TURN)
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
    "heart": _unit(np.stack([16 * np.sin(_FULL_TURN) ** 3, _HEART_Y], axis=1)),
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
    "flower": _unit(_polar(1 + 0.32 * np.cos(5 * _FULL_TURN)), _arc(0, 360, 0.3)),
}
PATTERNS = ("plain", "striped", "dotted", "checked", "outlined")
TEXTURES = ("smooth", "gradient", "grain", "lines", "blotches", "scratches")
# The angle of the direction towards the light, in radians, y down.
LIGHTS = {"left": np.pi, "right": 0.0, "top": -np.pi / 2, "bottom": np.pi / 2}


def object_mask(thing: SceneObject, image_px: int) -> Image:
    """The pixels of an object, covered parts included: 0 or 1, ``uint8 [image_px, image_px]``."""
    angle = np.radians(thing.tilt)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    shape = [contour * (1 - 2 * thing.mirrored, 1) @ rotation for contour in SHAPES[thing.shape]]
    points = np.concatenate(shape)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    # shift=4 below: OpenCV takes coordinates in sixteenths of a pixel.
    scale, offset = 16 * thing.radius, np.array(thing.centre) * 16
    contours = [np.rint((p - middle) * scale + offset).astype(np.int32) for p in shape]
    mask = np.zeros((image_px, image_px), np.uint8)
    return cv2.fillPoly(mask, contours, 1, shift=4)  # type: ignore[return-value]
