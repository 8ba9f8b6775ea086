"""Canny edge maps with thresholds that follow the gradients of each image."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

# Canny (1986) advises a high-to-low ratio between two and three.
LOW_TO_HIGH = 0.4
# In Sobel units, where a step of one grey level gives 4: fainter ones are noise and compression.
MIN_HIGH = 16.0


def canny(
    rgb: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, ``uint8 [height, width, 3]``, as ``bool [size_px, size_px]``.

    The image is made grey, resized to the square without regard to its aspect, and blurred with a
    Gaussian of ``blur_sigma`` pixels of that square (0: no blur). ``low`` and ``high`` are the
    hysteresis thresholds on the gradient ``|dx| + |dy|`` of a 3x3 Sobel filter, whose range is
    0 to 2040. Without them ``high`` is Otsu's threshold (1979) on the histogram of the gradients
    of this image, at least ``MIN_HIGH``, and ``low = LOW_TO_HIGH * high``. Taken from gradients
    and not from grey levels, they scale with the contrast and ignore the brightness.

    Raises ``ValueError`` for another shape or type, and for thresholds that are not both given
    with ``0 <= low < high``.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"rgb must be uint8 [height, width, 3], not {rgb.dtype} {rgb.shape}")
    if size_px < 1 or blur_sigma < 0:
        raise ValueError(f"needs size_px >= 1 and blur_sigma >= 0, not {size_px} and {blur_sigma}")
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    shrinks = min(grey.shape) >= size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    grey = cv2.resize(grey, (size_px, size_px), interpolation=interpolation)
    if blur_sigma:
        grey = cv2.GaussianBlur(grey, (0, 0), blur_sigma)
    # The borders as cv2.Canny itself treats them, so that fixed thresholds mean the same here.
    dx = cv2.Sobel(grey, cv2.CV_16S, 1, 0, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(grey, cv2.CV_16S, 0, 1, borderType=cv2.BORDER_REPLICATE)
    if low is None and high is None:
        low, high = _thresholds(dx, dy)
    elif low is None or high is None or not 0 <= low < high:
        raise ValueError(f"needs 0 <= low < high or neither, not low={low} and high={high}")
    return cv2.Canny(dx, dy, low, high) > 0


def _thresholds(dx: MatLike, dy: MatLike) -> tuple[float, float]:
    # In bins of 4 units, a step of one grey level; the few beyond 1020 count as 1020.
    magnitude = cv2.add(cv2.convertScaleAbs(dx, alpha=0.25), cv2.convertScaleAbs(dy, alpha=0.25))
    otsu, _ = cv2.threshold(magnitude, 0, 255, cv2.THRESH_OTSU)
    high = max(4 * otsu, MIN_HIGH)
    return LOW_TO_HIGH * high, high
