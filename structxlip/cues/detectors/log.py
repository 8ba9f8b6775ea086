"""Laplacian-of-Gaussian edge maps: where the second derivative changes its sign."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square, zero_crossings


def log(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, as ``canny`` takes it, as ``bool [size_px, size_px]``.

    Zero crossings of the Laplacian of Gaussian (Marr & Hildreth, 1980). The step of a crossing, the
    change between its two pixels, passes the hysteresis thresholds ``low`` and ``high``. Without
    them they follow Otsu's threshold. Raises what ``canny`` raises.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    return zero_crossings(cv2.Laplacian(grey, cv2.CV_32F, ksize=3), low, high)
