"""Edge maps from the size of the gradient: Sobel and Scharr filters."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square, hysteresis, otsu

LOW_TO_HIGH = 0.5
MIN_HIGH = 4.0  # grey levels: fainter steps are noise and compression


def sobel(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, as ``canny`` takes it, as ``bool [size_px, size_px]``.

    Where the gradient of a 3x3 Sobel filter is large: hysteresis thresholds ``low`` and ``high``
    in grey levels (a step of one level gives 1), from Otsu's threshold without them. Lines are as
    wide as the filter sees them, where Canny's are one pixel. Errors are those of ``canny``.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 4) for axis in ((1, 0), (0, 1)))
    return _large(cv2.magnitude(dx, dy), low, high)


def scharr(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """As ``sobel``, with Scharr's filter (2000), whose gradient depends less on the direction."""
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    dx, dy = (cv2.Scharr(grey, cv2.CV_32F, *axis, scale=1 / 16) for axis in ((1, 0), (0, 1)))
    return _large(cv2.magnitude(dx, dy), low, high)


def _large(gradient: MatLike, low: float | None, high: float | None) -> NDArray[np.bool_]:
    if low is None or high is None:
        high = otsu(gradient, MIN_HIGH)
        low = LOW_TO_HIGH * high
    return hysteresis(gradient, low, high)
