"""The attention of chunks over the patches of an edge map, drawn on the picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.evaluation.pointing import NamedChunk

SHOWN = 8
GREEN = (42, 140, 60)


@dataclass(frozen=True)
class Attention:
    """Chunks that name a labelled box, and their attention ``[n, P]`` over a square grid."""

    chunks: Sequence[NamedChunk]
    weights: NDArray[np.float32]

    def examples(self) -> list[int]:
        """Evenly spaced chunks, ``SHOWN`` at most, of different images."""
        first = {chunk.row: number for number, chunk in reversed([*enumerate(self.chunks)])}
        numbers = sorted(first.values())
        return numbers[:: max(1, math.ceil(len(numbers) / SHOWN))]

    def draw(self, number: int, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image, ``uint8 [height, width, 3]``, brighter where a chunk attends, with its box."""
        weights = self.weights[number]
        side = math.isqrt(len(weights))
        height, width = image.shape[:2]
        grid = weights.reshape(side, side) / weights.max()
        mask = cv2.resize(grid, (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
        drawn = np.ascontiguousarray((image * (0.25 + 0.75 * mask)).astype(np.uint8))
        left, top, right, bottom = self.chunks[number].box
        corners = (
            (round(left * width), round(top * height)),
            (round(right * width) - 1, round(bottom * height) - 1),
        )
        return np.asarray(cv2.rectangle(drawn, *corners, GREEN, 2), np.uint8)
