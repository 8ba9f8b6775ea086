"""Edge maps where a band-pass filter changes its sign: Laplacian and difference of Gaussians."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square, hysteresis, otsu

LOW_TO_HIGH = 0.5
MIN_HIGH = 4.0
# Marr and Hildreth (1980): at this ratio of its two scales the difference is nearest the Laplacian.
SCALE_RATIO = 1.6


def log(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Edges of an image, as ``canny`` takes it, as ``bool [size_px, size_px]``.

    Zero crossings of the Laplacian of Gaussian (Marr & Hildreth, 1980) whose step, the change
    between the two pixels, passes hysteresis thresholds ``low`` and ``high``, from Otsu's threshold
    without them. Errors are those of ``canny``.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    return _crossings(cv2.Laplacian(grey, cv2.CV_32F, ksize=3), low, high)


def dog(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """As ``log``, with the difference of Gaussians of ``blur_sigma`` and 1.6 times that.

    Raises ``ValueError`` when ``blur_sigma`` is 0 too: there is no difference then.
    """
    check_thresholds(low, high)
    if not blur_sigma:
        raise ValueError("dog needs a blur_sigma above 0")
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma).astype(np.float32)
    wider = cv2.GaussianBlur(grey, (0, 0), blur_sigma * float(np.sqrt(SCALE_RATIO**2 - 1)))
    # The Laplacian of a scale is about this many times the difference.
    gain = 2 / (blur_sigma**2 * (SCALE_RATIO**2 - 1))
    return _crossings(gain * (wider - grey), low, high)


def _crossings(response: MatLike, low: float | None, high: float | None) -> NDArray[np.bool_]:
    """The pixels before a change of sign to the right or below, by the size of the change."""
    steps = np.zeros_like(response)
    for here, there in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1, :], np.s_[1:, :]),
    ):
        changes = (response[here] > 0) != (response[there] > 0)
        step = np.abs(response[here] - response[there]) * changes
        steps[here] = np.maximum(steps[here], step)
    if low is None or high is None:
        high = otsu(steps[steps > 0][None] if steps.any() else steps, MIN_HIGH)
        low = LOW_TO_HIGH * high
    return hysteresis(steps, max(low, float(np.finfo(np.float32).tiny)), high)
