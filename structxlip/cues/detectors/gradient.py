"""Soft edge maps: the size of the gradient against that of its surroundings."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from structxlip.cues.gradients import normalised_gradient, refuse_thresholds

LEVELS = 16  # more make a map three times as large


def gradient(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.uint8]:
    """The soft map of an image, as ``canny`` takes it: ``uint8 [1, size_px, size_px]``.

    A value is 255 times ``normalised_gradient``, so that faint outlines show as strong ones do, in
    ``LEVELS`` steps. A soft map has no thresholds. Raises ``ValueError`` for ``low`` or ``high``,
    and what ``canny`` raises.
    """
    refuse_thresholds("gradient", low, high)
    magnitude, _ = normalised_gradient(image, size_px=size_px, blur_sigma=blur_sigma)
    steps = np.rint(np.minimum(magnitude, 1) * (LEVELS - 1))
    return (steps * (255 // (LEVELS - 1))).astype(np.uint8)[None]
