"""Light augmentation of pixels that a caption stays true to: mirroring and brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_BRIGHTNESS = 0.15


@dataclass(frozen=True)
class Augmentation:
    """What is done to each of ``n`` pairs: ``mirrored [n]``, and ``brightness [n]`` around 1."""

    mirrored: NDArray[np.bool_]
    brightness: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, sided: NDArray[np.bool_]) -> Augmentation:
        """Mirror every other pair, but none of which the caption names a side (``sided [n]``)."""
        mirrored = (rng.random(len(sided)) < 0.5) & ~sided
        brightness = 1 + MAX_BRIGHTNESS * (2 * rng.random(len(sided)) - 1)
        return cls(mirrored, brightness.astype(np.float32))

    def __getitem__(self, rows: slice) -> Augmentation:
        return Augmentation(self.mirrored[rows], self.brightness[rows])

    def images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Pixels ``[n, S, S, 3]``."""
        turned = np.where(self.mirrored[:, None, None, None], images[:, :, ::-1], images)
        lit = turned * self.brightness[:, None, None, None]
        return np.rint(lit.clip(0, 255)).astype(np.uint8)

    def maps(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps or crops of maps ``[n, …, S, S]``: mirrored as their images are."""
        mirrored = self.mirrored.reshape(-1, *[1] * (maps.ndim - 1))
        return np.where(mirrored, maps[..., ::-1], maps)
