"""Pictures that are nearly the same: none may stand on both sides of a split."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16  # of the grid of brightness differences: 256 bits
MAX_BITS = 8  # that may differ
THUMBNAIL = 32
MIN_CORRELATION = 0.99  # of the thumbnails: products on white share their outline, and not this
STRICTER = {"train": ("test", "val"), "val": ("test",), "test": ()}


def fingerprint(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The difference hash of a picture, 256 bits as bytes ``[32]``, and its thumbnail ``[1024]``
    with mean 0 and norm 1."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits((grid[:, 1:] > grid[:, :-1]).ravel())
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    centred = small.astype(np.float32).ravel()
    centred -= centred.mean()
    return bits, centred / max(float(np.linalg.norm(centred)), 1e-6)


class HeldOut:
    """The pictures of the validation and test splits, to find what comes again in another split.

    A picture comes again when at most ``MAX_BITS`` of its difference hash differ and the thumbnails
    correlate by at least ``MIN_CORRELATION``.
    """

    def __init__(self) -> None:
        self._ids: dict[str, list[str]] = {"val": [], "test": []}
        self._bits: dict[str, list[NDArray[np.uint8]]] = {"val": [], "test": []}
        self._thumbnails: dict[str, list[NDArray[np.float16]]] = {"val": [], "test": []}
        self._stacked: dict[str, tuple[int, NDArray[np.uint8]]] = {}

    def add(self, split: str, identifier: str, rgb: NDArray[np.uint8]) -> None:
        """Remember a picture of the split `val` or `test`."""
        bits, thumbnail = fingerprint(rgb)
        self._ids[split].append(identifier)
        self._bits[split].append(bits)
        self._thumbnails[split].append(thumbnail.astype(np.float16))

    def again(self, split: str, rgb: NDArray[np.uint8]) -> tuple[str, str] | None:
        """The split and id of a remembered picture of a stricter split that is nearly this one."""
        bits, thumbnail = fingerprint(rgb)
        for other in STRICTER[split]:
            if not self._ids[other]:
                continue
            differing = np.bitwise_count(self._all_bits(other) ^ bits).sum(axis=1)
            for i in np.flatnonzero(differing <= MAX_BITS).tolist():
                if (
                    float(self._thumbnails[other][i].astype(np.float32) @ thumbnail)
                    >= MIN_CORRELATION
                ):
                    return other, self._ids[other][i]
        return None

    def _all_bits(self, split: str) -> NDArray[np.uint8]:
        count = len(self._bits[split])
        if self._stacked.get(split, (0, None))[0] != count:
            self._stacked[split] = count, np.stack(self._bits[split])
        return self._stacked[split][1]
