"""Difference-of-Gaussians edge maps: where a band-pass filter changes its sign."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square, zero_crossings

# Marr and Hildreth (1980): at this ratio of its two scales the difference is nearest the Laplacian.
SCALE_RATIO = 1.6


def dog(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, as ``log`` finds them, from two Gaussians of ``blur_sigma`` and 1.6 times
    that.

    Raises ``ValueError`` also when ``blur_sigma`` is 0, since there is no difference then.
    """
    check_thresholds(low, high)
    if not blur_sigma:
        raise ValueError("dog needs a blur_sigma above 0")
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma).astype(np.float32)
    wider = cv2.GaussianBlur(grey, (0, 0), blur_sigma * float(np.sqrt(SCALE_RATIO**2 - 1)))
    # The Laplacian at a scale is about this many times the difference.
    gain = 2 / (blur_sigma**2 * (SCALE_RATIO**2 - 1))
    return zero_crossings(gain * (wider - grey), low, high)
