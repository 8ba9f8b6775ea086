"""Canny edge maps with thresholds that follow the gradients of each image."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square

# Canny (1986) advises a high-to-low ratio between two and three.
LOW_TO_HIGH = 0.4
# In Sobel units, where a step of one grey level gives 4: fainter ones are noise and compression.
MIN_HIGH = 16.0


def canny(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, ``uint8 [height, width, 3]`` or grey ``[height, width]``, as ``bool
    [size_px, size_px]``.

    The image is prepared by ``grey_square``. ``low`` and ``high`` are the hysteresis thresholds on
    the gradient ``|dx| + |dy|`` of a 3x3 Sobel filter, whose range is 0 to 2040. Without them
    ``high`` is Otsu's threshold (1979) on the histogram of the gradients of this image, at least
    ``MIN_HIGH``, and ``low = LOW_TO_HIGH * high``. Taken from gradients and not from grey levels,
    they scale with the contrast and ignore the brightness.

    Raises ``ValueError`` for another shape or type, and for thresholds that are not both given
    with ``0 <= low < high``.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    # The borders as cv2.Canny itself treats them, so that fixed thresholds mean the same here.
    dx, dy = cv2.spatialGradient(grey, borderType=cv2.BORDER_REPLICATE)
    if low is None or high is None:
        low, high = thresholds(dx, dy)
    return cv2.Canny(dx, dy, low, high) > 0


def thresholds(dx: MatLike, dy: MatLike) -> tuple[float, float]:
    """The low and high threshold for the gradients of an image: see ``canny``."""
    # In bins of 4 units, a step of one grey level; the few beyond 1020 count as 1020.
    magnitude = cv2.add(cv2.convertScaleAbs(dx, alpha=0.25), cv2.convertScaleAbs(dy, alpha=0.25))
    otsu, _ = cv2.threshold(magnitude, 0, 255, cv2.THRESH_OTSU)
    high = max(4 * otsu, MIN_HIGH)
    return LOW_TO_HIGH * high, high
