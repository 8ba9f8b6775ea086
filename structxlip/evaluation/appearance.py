"""Changes of the appearance of a picture that leave its content: colour, contrast, texture, noise.

A model that reads structure should lose less by them than one that reads colour and texture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Change = Callable[[Pixels, np.random.Generator], Pixels]
REFERENCE_PX = 256  # blur and pencil strokes are sized for a picture with this shorter side


def unchanged(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """The picture as it is."""
    return rgb


def turned_hue(rgb: Pixels, _: np.random.Generator, degrees: int) -> Pixels:
    """The hue of each pixel turned by so many degrees of the colour circle."""
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0].astype(np.int16) + degrees // 2) % 180  # OpenCV counts by 2 degrees
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB), np.uint8)


def grey(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """The picture without colour."""
    return np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def inverted(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """Its negative."""
    return np.asarray(255 - rgb, np.uint8)


def posterised(rgb: Pixels, _: np.random.Generator, levels: int) -> Pixels:
    """So many levels in each channel, evenly spaced from 0 to 255."""
    step = 255 / (levels - 1)
    return np.asarray(np.rint(np.rint(rgb / step) * step), np.uint8)


def smoothed(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """Texture gone, contours kept (Gastal and Oliveira, 2011: domain transform filter)."""
    return np.asarray(cv2.stylization(rgb, sigma_s=60, sigma_r=0.45), np.uint8)


def contrast(rgb: Pixels, _: np.random.Generator, factor: float) -> Pixels:
    """The distance of each value from the mean of the picture times a factor."""
    mean = float(rgb.mean())
    return np.asarray(np.clip(np.rint(mean + factor * (rgb - mean)), 0, 255), np.uint8)


def noise(rgb: Pixels, rng: np.random.Generator, sigma: float) -> Pixels:
    """Gaussian noise of this standard deviation, in levels of 255."""
    noisy = rgb + rng.normal(0, sigma, rgb.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)


def blurred(rgb: Pixels, _: np.random.Generator, sigma: float) -> Pixels:
    """Gaussian blur; ``sigma`` in pixels of a picture with a shorter side of ``REFERENCE_PX``."""
    scale = min(rgb.shape[:2]) / REFERENCE_PX
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), max(sigma * scale, 0.1)), np.uint8)


def drawn(rgb: Pixels, _: np.random.Generator) -> Pixels:
    """A pencil drawing: the picture divided by its blurred self, dark lines on white."""
    shades = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = min(rgb.shape[:2]) / REFERENCE_PX
    paper = cv2.GaussianBlur(shades, (0, 0), max(4 * scale, 0.5))
    lines = cv2.divide(shades, paper, scale=255)
    return np.repeat(lines[..., None], 3, axis=2)


def compressed(rgb: Pixels, _: np.random.Generator, quality: int) -> Pixels:
    """Through a JPEG of this quality, 1 to 100."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_COLOR), np.uint8)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def cropped(rgb: Pixels, rng: np.random.Generator, share: float) -> Pixels:
    """A part with ``1 - share`` of each side, at a random place."""
    height, width = (max(1, round(side * (1 - share))) for side in rgb.shape[:2])
    top = rng.integers(rgb.shape[0] - height + 1)
    left = rng.integers(rgb.shape[1] - width + 1)
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


# In the order of the table. The first one is no change.
CHANGES: dict[str, Change] = {
    "unchanged": unchanged,
    "hue": partial(turned_hue, degrees=120),
    "grey": grey,
    "inverted": inverted,
    "posterised": partial(posterised, levels=4),
    "smoothed": smoothed,
    "contrast": partial(contrast, factor=0.35),
    "noise": partial(noise, sigma=25.0),
    "blurred": partial(blurred, sigma=3.0),
    "drawn": drawn,
    "jpeg": partial(compressed, quality=10),
    "cropped": partial(cropped, share=0.1),
}
# What a table calls them.
TITLES = {
    "unchanged": "as they are",
    "hue": "hue turned by 120°",
    "grey": "grey",
    "inverted": "inverted",
    "posterised": "four levels a channel",
    "smoothed": "texture gone",
    "contrast": "contrast × 0.35",
    "noise": "noise, σ 25",
    "blurred": "blurred, σ 3",
    "drawn": "pencil drawing",
    "jpeg": "JPEG, quality 10",
    "cropped": "cropped by 10 %",
}
