"""What detectors have in common: a grey square, and thresholds with hysteresis."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

# Grey levels between the 1st and the 99th percentile. Below FLAT there is nothing but noise to
# amplify; what lies between is stretched to FAINT.
FLAT, FAINT = 6.0, 64.0


def grey_square(image: NDArray[np.uint8], *, size_px: int, blur_sigma: float) -> NDArray[np.uint8]:
    """An image, ``uint8 [height, width, 3]`` or grey ``[height, width]``, as blurred grey ``uint8
    [size_px, size_px]``.

    It is resized without regard to its aspect, as images are for their tower; the contrast of a
    faint image is stretched to that of others; a Gaussian of ``blur_sigma`` pixels of the square
    follows (0: none).

    Raises ``ValueError`` for another shape or type, or sizes out of range.
    """
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or not image.size:
        raise ValueError(
            f"an image must be uint8 [height, width, 3] or [height, width], "
            f"not {image.dtype} {image.shape}"
        )
    if size_px < 1 or blur_sigma < 0:
        raise ValueError(f"needs size_px >= 1 and blur_sigma >= 0, not {size_px} and {blur_sigma}")
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    shrinks = min(grey.shape) >= size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    grey = cv2.resize(grey, (size_px, size_px), interpolation=interpolation)
    darkest, brightest = percentiles(grey, (1, 99))
    if FLAT <= brightest - darkest < FAINT:
        gain = FAINT / (brightest - darkest)
        grey = np.clip(gain * (grey - darkest), 0, 255).astype(np.uint8)
    if blur_sigma:
        grey = cv2.GaussianBlur(grey, (0, 0), blur_sigma)
    return np.asarray(grey, np.uint8)


def percentiles(grey: MatLike, percents: tuple[float, ...]) -> NDArray[np.float64]:
    """``np.percentile`` from the histogram: several times faster."""
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    places = np.multiply(percents, (grey.size - 1) / 100)
    below = np.floor(places)
    found = np.searchsorted(counts, [below, np.ceil(places)], side="right")
    return found[0] + (found[1] - found[0]) * (places - below)


def check_thresholds(low: float | None, high: float | None) -> None:
    """``ValueError`` unless both are given with ``0 <= low < high``, or neither is."""
    if low is None and high is None:
        return
    if low is None or high is None or not 0 <= low < high:
        raise ValueError(f"needs 0 <= low < high or neither, not low={low} and high={high}")


def hysteresis(response: MatLike, low: float, high: float) -> NDArray[np.bool_]:
    """Where a response, ``[height, width]``, is at least ``low`` and connected to ``high``."""
    _, labels = cv2.connectedComponents((response >= low).astype(np.uint8), connectivity=8)
    strong = np.zeros(int(labels.max()) + 1, np.bool_)
    strong[labels[response >= high]] = True
    strong[0] = False
    found: NDArray[np.bool_] = strong[labels]
    return found


def otsu(response: MatLike, at_least: float) -> float:
    """Otsu's threshold (1979) on the histogram of a response in grey levels, 0 to 255."""
    levels = np.clip(np.rint(response), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    return max(float(threshold), at_least)
