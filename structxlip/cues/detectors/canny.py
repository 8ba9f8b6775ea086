"""Canny edge maps, with thresholds that adapt to the gradients of each image."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square

# Canny (1986) advises a high-to-low ratio between two and three.
LOW_TO_HIGH = 0.4
# Smallest upper threshold, in units of the 3x3 Sobel filter, where a step of one grey level gives
# 4. Weaker steps are noise and compression.
MIN_HIGH = 16.0


def canny(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Detect edges (Canny, 1986) in an image that ``grey_square`` prepares.

    Without ``low`` and ``high``, the upper threshold is Otsu's threshold (1979) on the histogram of
    the gradients of this image, at least ``MIN_HIGH``, and ``low = LOW_TO_HIGH * high``. Thresholds
    from gradients scale with the contrast of the image and do not depend on its brightness.

    Args:
        image: RGB, ``uint8 [height, width, 3]``, or grey, ``uint8 [height, width]``.
        size_px: side of the square edge map, in pixels.
        blur_sigma: standard deviation of the Gaussian blur, in pixels of the edge map.
        low: lower hysteresis threshold on the gradient ``|dx| + |dy|`` of a 3x3 Sobel filter, from
            0 to 2040.
        high: upper hysteresis threshold, likewise.

    Returns:
        The edge map, ``bool [size_px, size_px]``.

    Raises:
        ValueError: another shape or type of ``image``, a number out of range, or thresholds other
            than both or neither with ``0 <= low < high``.
    """
    check_thresholds(low, high)
    dx, dy = gradients(image, size_px=size_px, blur_sigma=blur_sigma)
    if low is None or high is None:
        low, high = thresholds(dx, dy)
    return cv2.Canny(dx, dy, low, high) > 0


def gradients(
    image: NDArray[np.uint8], *, size_px: int, blur_sigma: float
) -> tuple[MatLike, MatLike]:
    """The gradients of an image that ``grey_square`` prepares, ``int16 [size_px, size_px]``."""
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    # cv2.Canny treats borders in this way, so fixed thresholds have the same meaning here.
    dx, dy = cv2.spatialGradient(grey, borderType=cv2.BORDER_REPLICATE)
    return dx, dy


def thresholds(dx: MatLike, dy: MatLike) -> tuple[float, float]:
    """The lower and upper threshold for the gradients of an image, ``int16 [height, width]``.

    They are Otsu's thresholds, as ``canny`` describes.
    """
    # The bins of the histogram are 4 units wide, a step of one grey level. The few gradients above
    # 1020 count as 1020.
    magnitude = cv2.add(cv2.convertScaleAbs(dx, alpha=0.25), cv2.convertScaleAbs(dy, alpha=0.25))
    otsu, _ = cv2.threshold(magnitude, 0, 255, cv2.THRESH_OTSU)
    high = max(4 * otsu, MIN_HIGH)
    return LOW_TO_HIGH * high, high
