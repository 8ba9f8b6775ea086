"""Oriented gradients: which way the outlines run in each cell of a grid, whatever the colours."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.gradients import normalised_gradient, refuse_thresholds

BINS = 8  # orientations, from 0 to 180 degrees
EPSILON = 0.05  # a cell whose bins have this norm is half as strong as one full of structure


def orientations(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
    cells: int = 16,
) -> NDArray[np.uint8]:
    """The cells of an image, as ``canny`` takes it: ``uint8 [BINS, cells, cells]``.

    With ``m`` and ``θ`` of ``normalised_gradient``, bin ``k`` of a pixel is
    ``m · max(cos 2(θ - kπ / BINS), 0)²``. A cell has the mean over its pixels, divided by the norm
    over its bins plus ``EPSILON``, times 255. So an inverted picture has the same cells, and one
    of other colours or of another contrast nearly the same.

    Args:
        image: RGB, ``uint8 [height, width, 3]``, or grey, ``uint8 [height, width]``.
        size_px: side of the square in which gradients are found, a multiple of ``cells``.
        blur_sigma: standard deviation of the Gaussian blur, in pixels of the square.
        low: none; the cue has no thresholds.
        high: none.
        cells: cells a side.

    Raises:
        ValueError: a threshold, ``cells`` that do not divide ``size_px``, and what ``canny``
            raises.
    """
    refuse_thresholds("orientations", low, high)
    if cells < 1 or size_px % cells:
        raise ValueError(f"size_px must be a multiple of cells, not {size_px} and {cells}")
    magnitude, angle = normalised_gradient(image, size_px=size_px, blur_sigma=blur_sigma)
    turned = np.arange(BINS, dtype=np.float32)[:, None, None] * np.float32(np.pi / BINS)
    pixels = magnitude * np.maximum(np.cos(2 * (angle - turned)), 0) ** 2
    mean = np.stack(
        [cv2.resize(of_bin, (cells, cells), interpolation=cv2.INTER_AREA) for of_bin in pixels]
    )
    norm = np.linalg.norm(mean, axis=0)
    return np.rint(255 * mean / (norm + EPSILON)).astype(np.uint8)
