"""Edge maps of straight line segments only."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues.prepare import check_thresholds, grey_square


def lsd(
    image: NDArray[np.uint8],
    *,
    size_px: int,
    blur_sigma: float = 1.0,
    low: float | None = None,
    high: float | None = None,
) -> NDArray[np.bool_]:
    """Detect line segments (LSD; von Grompone von Gioi et al., 2012), which are then drawn.

    The detector sets its own thresholds on gradients.

    Args:
        image: as for ``canny``.
        size_px: as for ``canny``.
        blur_sigma: as for ``canny``.
        low: shortest segment that is drawn, in pixels of the edge map; None for no limit.
        high: longest segment that is drawn, in pixels of the edge map; None for no limit.

    Returns:
        The edge map, ``bool [size_px, size_px]``.

    Raises:
        ValueError: as ``canny``.
    """
    check_thresholds(low, high)
    grey = grey_square(image, size_px=size_px, blur_sigma=blur_sigma)
    lines, *_ = cv2.createLineSegmentDetector().detect(grey)
    drawn = np.zeros((size_px, size_px), np.uint8)
    for x1, y1, x2, y2 in [] if lines is None else lines.reshape(-1, 4):
        length = float(np.hypot(x2 - x1, y2 - y1))
        if (low or 0.0) <= length <= (high or np.inf):
            start, end = (round(float(x1)), round(float(y1))), (round(float(x2)), round(float(y2)))
            cv2.line(drawn, start, end, color=1)
    return drawn > 0
