"""Pictures in other colours, which keep what is seen on them."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

# Factors are drawn evenly from these ranges; 1 keeps a picture as it is.
SATURATION, CONTRAST, BRIGHTNESS = (0.0, 1.6), (0.4, 1.6), (0.7, 1.3)


def colour_copies(rgb: NDArray[np.uint8], copies: int) -> list[NDArray[np.uint8]]:
    """Copies of a picture with another hue, saturation, contrast and brightness each.

    The hue turns by any angle. A copy follows from the pixels and from its number alone, whatever
    else is copied.

    Args:
        rgb: the picture, ``uint8 [height, width, 3]``.
        copies: how many.
    """
    if not copies:
        return []
    from PIL import Image
    from torchvision.transforms import functional

    picture, content = Image.fromarray(rgb), zlib.crc32(rgb.tobytes())
    found = []
    for number in range(copies):
        rng = np.random.default_rng([content, number])
        copy = functional.adjust_hue(picture, rng.uniform(-0.5, 0.5))  # of the colour circle
        copy = functional.adjust_saturation(copy, rng.uniform(*SATURATION))
        copy = functional.adjust_contrast(copy, rng.uniform(*CONTRAST))
        copy = functional.adjust_brightness(copy, rng.uniform(*BRIGHTNESS))
        found.append(np.asarray(copy, np.uint8))
    return found
