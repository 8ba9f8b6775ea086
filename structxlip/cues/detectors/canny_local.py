"""Canny edge maps whose thresholds follow the strongest edges nearby, for faint outlines."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.detectors.canny import MIN_HIGH, canny, gradients, thresholds

NEARBY = 0.2  # side of the neighbourhood, as a share of the side of the map
SHARE = 0.35  # local upper threshold, as a share of the strongest gradient nearby
MAX_GRADIENT = 2**15 - 1


def canny_local(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Detect edges as ``canny`` does, with lower thresholds where all edges nearby are faint.

    One threshold for the whole image loses a pale garment on white beside dark trousers. Here the
    thresholds of a place are ``SHARE`` of the strongest gradient nearby, at most those of the whole
    image. Photographs get more edges of texture than with ``canny``. Takes, returns and raises what
    ``canny`` does; with ``low`` and ``high`` it is ``canny``.
    """
    if low is not None or high is not None:
        return canny(image, size_px=size_px, blur_sigma=blur_sigma, low=low, high=high)
    dx, dy = gradients(image, size_px=size_px, blur_sigma=blur_sigma)
    low, high = thresholds(dx, dy)
    strength = np.abs(dx.astype(np.float32)) + np.abs(dy.astype(np.float32))
    side = max(round(NEARBY * size_px), 1) | 1
    strongest = cv2.dilate(strength, np.ones((side, side), np.uint8))
    local = SHARE * np.asarray(cv2.GaussianBlur(strongest, (0, 0), side / 4))
    gain = high / np.clip(local, MIN_HIGH, high)
    dx, dy = (
        np.clip(gradient * gain, -MAX_GRADIENT, MAX_GRADIENT).astype(np.int16)
        for gradient in (dx, dy)
    )
    return cv2.Canny(dx, dy, low, high) > 0
