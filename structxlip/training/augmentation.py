"""Light augmentation that keeps captions true: mirroring and brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_BRIGHTNESS = 0.15


@dataclass(frozen=True)
class Augmentation:
    """The changes of ``n`` images: ``mirrored [n]``, and a factor ``brightness [n]`` around 1."""

    mirrored: NDArray[np.bool_]
    brightness: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, names_side: NDArray[np.bool_]) -> Augmentation:
        """Draw changes. Half of the images are mirrored, but none whose caption names a side
        (``names_side [n]``)."""
        mirrored = (rng.random(len(names_side)) < 0.5) & ~names_side
        brightness = 1 + MAX_BRIGHTNESS * (2 * rng.random(len(names_side)) - 1)
        return cls(mirrored, brightness.astype(np.float32))

    def __getitem__(self, rows: slice) -> Augmentation:
        return Augmentation(self.mirrored[rows], self.brightness[rows])

    def images(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Apply the changes to pixels ``[n, S, S, 3]``."""
        turned = np.where(self.mirrored[:, None, None, None], images[:, :, ::-1], images)
        lit = turned * self.brightness[:, None, None, None]
        return np.rint(lit.clip(0, 255)).astype(np.uint8)

    def maps(self, maps: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mirror maps or crops of maps, ``[n, …, C, S, S]``, as their images are mirrored.

        The ``C`` orientations of cells change places: what runs at an angle then runs at 180
        degrees less that angle.
        """
        mirrored = self.mirrored.reshape(-1, *[1] * (maps.ndim - 1))
        orientations = -np.arange(maps.shape[-3]) % maps.shape[-3]
        return np.where(mirrored, maps[..., orientations, :, ::-1], maps)
