"""Steps that edge detectors share: a grey square, thresholds, hysteresis, zero crossings."""

from __future__ import annotations

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

# Contrast of an image: grey levels between its 1st and its 99th percentile. An image with less than
# FLAT stays as it is, because stretching would only amplify noise. An image with less than FAINT is
# stretched to FAINT.
FLAT, FAINT = 6.0, 64.0
LOW_TO_HIGH = 0.5  # lower hysteresis threshold as a share of the upper one
MIN_HIGH = 4.0  # smallest upper threshold, in grey levels; weaker steps are noise and compression


def grey_square(image: NDArray[np.uint8], *, size_px: int, blur_sigma: float) -> NDArray[np.uint8]:
    """Turn an image into a blurred grey square.

    The image is resized to a square whatever its aspect ratio, as it is for the image tower. A
    faint image is stretched to more contrast. Then it is blurred.

    Args:
        image: RGB, ``uint8 [height, width, 3]``, or grey, ``uint8 [height, width]``.
        size_px: side of the square, in pixels.
        blur_sigma: standard deviation of the Gaussian blur, in pixels of the square. 0: no blur.

    Returns:
        Grey, ``uint8 [size_px, size_px]``.

    Raises:
        ValueError: another shape or type of ``image``, or a number out of range.
    """
    check_image(image, size_px, blur_sigma)
    grey: MatLike = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    grey = resize_square(grey, size_px)
    darkest, brightest = percentiles(grey, (1, 99))
    if FLAT <= brightest - darkest < FAINT:
        gain = FAINT / (brightest - darkest)
        grey = np.clip(gain * (grey - darkest), 0, 255).astype(np.uint8)
    if blur_sigma:
        grey = cv2.GaussianBlur(grey, (0, 0), blur_sigma)
    return np.asarray(grey, np.uint8)


def check_image(image: NDArray[np.uint8], size_px: int, blur_sigma: float) -> None:
    """Raise ``ValueError`` for what ``grey_square`` does not take."""
    if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or not image.size:
        raise ValueError(
            f"an image must be uint8 [height, width, 3] or [height, width], "
            f"not {image.dtype} {image.shape}"
        )
    if size_px < 1 or blur_sigma < 0:
        raise ValueError(f"needs size_px >= 1 and blur_sigma >= 0, not {size_px} and {blur_sigma}")


def resize_square(grey: MatLike, size_px: int) -> MatLike:
    """A grey picture as a square of ``size_px`` pixels a side, whatever its aspect ratio."""
    shrinks = min(grey.shape) >= size_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(grey, (size_px, size_px), interpolation=interpolation)


def percentiles(grey: MatLike, percents: tuple[float, ...]) -> NDArray[np.float64]:
    """The percentiles of a grey image, ``uint8 [height, width]``, in grey levels.

    Equals ``np.percentile``, and is several times faster, because it reads the histogram.
    """
    counts = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel().cumsum()
    ranks = np.multiply(percents, (grey.size - 1) / 100)
    ranks_below = np.floor(ranks)
    levels = np.searchsorted(counts, [ranks_below, np.ceil(ranks)], side="right")
    return levels[0] + (levels[1] - levels[0]) * (ranks - ranks_below)


def check_thresholds(low: float | None, high: float | None) -> None:
    """Raise ``ValueError`` unless both are None, or both are given with ``0 <= low < high``."""
    if low is None and high is None:
        return
    if low is None or high is None or not 0 <= low < high:
        raise ValueError(f"needs 0 <= low < high or neither, not low={low} and high={high}")


def hysteresis(response: MatLike, low: float, high: float) -> NDArray[np.bool_]:
    """Apply two thresholds to a response, ``[height, width]``; returns ``bool [height, width]``.

    A pixel is an edge where the response is at least ``low``, and where a chain of such pixels
    (8 neighbours) connects it to a pixel of at least ``high``.
    """
    _, labels = cv2.connectedComponents((response >= low).astype(np.uint8), connectivity=8)
    is_strong = np.zeros(int(labels.max()) + 1, np.bool_)  # by the label of a component
    is_strong[labels[response >= high]] = True
    is_strong[0] = False  # the background
    edges: NDArray[np.bool_] = is_strong[labels]
    return edges


def otsu(response: MatLike, at_least: float) -> float:
    """Otsu's threshold (1979) of a response in grey levels, 0 to 255; ``at_least`` if lower."""
    levels = np.clip(np.rint(response), 0, 255).astype(np.uint8)
    threshold, _ = cv2.threshold(levels, 0, 255, cv2.THRESH_OTSU)
    return max(float(threshold), at_least)


def large_gradients(gradient: MatLike, low: float | None, high: float | None) -> NDArray[np.bool_]:
    """Edges where a gradient, ``[height, width]`` in grey levels, passes the thresholds.

    Without ``low`` and ``high`` the upper threshold is Otsu's, at least ``MIN_HIGH``, and the lower
    one is ``LOW_TO_HIGH`` times the upper one. Returns ``bool [height, width]``.
    """
    if low is None or high is None:
        high = otsu(gradient, MIN_HIGH)
        low = LOW_TO_HIGH * high
    return hysteresis(gradient, low, high)


def zero_crossings(response: MatLike, low: float | None, high: float | None) -> NDArray[np.bool_]:
    """Edges where a response, ``[height, width]``, changes its sign.

    An edge pixel is one whose right or lower neighbour has the other sign. The size of the change
    is compared with the thresholds, which default as in ``large_gradients``. Returns ``bool
    [height, width]``.
    """
    steps = np.zeros_like(response)
    for pixel, neighbour in (
        (np.s_[:, :-1], np.s_[:, 1:]),
        (np.s_[:-1, :], np.s_[1:, :]),
    ):
        changes_sign = (response[pixel] > 0) != (response[neighbour] > 0)
        step = np.abs(response[pixel] - response[neighbour]) * changes_sign
        steps[pixel] = np.maximum(steps[pixel], step)
    if low is None or high is None:
        high = otsu(steps[steps > 0][None] if steps.any() else steps, MIN_HIGH)
        low = LOW_TO_HIGH * high
    return hysteresis(steps, max(low, float(np.finfo(np.float32).tiny)), high)
