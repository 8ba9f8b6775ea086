"""Sobel edge maps: where the gradient is large."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square, large_gradients


def sobel(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, as ``canny`` takes it, as ``bool [size_px, size_px]``.

    The gradient of a 3x3 Sobel filter passes the hysteresis thresholds ``low`` and ``high``, in
    grey levels (a step of one level gives 1). Without them they follow Otsu's threshold. Lines are
    as wide as the filter sees them, where Canny's are one pixel. Raises what ``canny`` raises.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    dx, dy = (cv2.Sobel(grey, cv2.CV_32F, *axis, scale=1 / 4) for axis in ((1, 0), (0, 1)))
    return large_gradients(cv2.magnitude(dx, dy), low, high)
