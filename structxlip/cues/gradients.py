"""Gradients whose size is measured against their surroundings: what soft cues are made of."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from structxlip.cues.prepare import check_image, resize_square

# The surroundings of a pixel: this share of the side of the map, 25 of 128 pixels.
SURROUNDINGS = 25 / 128
# A gradient of so many grey levels (of 1) counts half in flat surroundings: less is noise.
FLOOR = 0.01
MOST = 4.0  # times its surroundings; a gradient above it counts no more


def normalised_gradient(
    image: NDArray[np.uint8], *, size_px: int, blur_sigma: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The gradient of each pixel of a picture, made grey, square and blurred.

    With the size ``m`` of the gradient (Sobel, 3 x 3), in grey levels from 0 to 1 for a pixel:
    ``min(m / (mean of m around + mean of m / 2 + FLOOR), MOST) / 2``.

    Args:
        image: RGB, ``uint8 [height, width, 3]``, or grey, ``uint8 [height, width]``.
        size_px: side ``S`` of the square, in pixels.
        blur_sigma: standard deviation of the Gaussian blur, in pixels of the square. 0: no blur.

    Returns:
        The size, in [0, ``MOST`` / 2], and the direction in radians, both ``[S, S]``.

    Raises:
        ValueError: another shape or type of ``image``, or a number out of range.
    """
    check_image(image, size_px, blur_sigma)
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    level: MatLike = np.asarray(resize_square(grey, size_px), np.float32) / np.float32(255)
    if blur_sigma:
        level = cv2.GaussianBlur(level, (0, 0), blur_sigma)
    dx, dy = (
        cv2.Sobel(level, cv2.CV_32F, *axis, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for axis in ((1, 0), (0, 1))
    )
    size = np.sqrt(dx**2 + dy**2 + 1e-10)
    around = _local_mean(size, 2 * round(SURROUNDINGS * size_px / 2 - 0.5) + 1)
    normalised = np.minimum(size / (around + size.mean() / 2 + FLOOR), MOST) / 2
    return normalised.astype(np.float32), np.arctan2(dy, dx)


def refuse_thresholds(cue: str, low: float | None, high: float | None) -> None:
    """Raise ``ValueError`` where a soft cue is given thresholds."""
    if low is not None or high is not None:
        raise ValueError(f"the cue {cue} is soft and has no thresholds; leave low and high out")


def _local_mean(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """The mean of the window of ``side`` pixels around each pixel, inside the picture."""
    total, count = (
        cv2.boxFilter(summed, -1, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT)
        for summed in (values, np.ones_like(values))
    )
    return np.asarray(total / count, np.float32)
