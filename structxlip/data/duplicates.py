"""Find near-duplicate images, so that none is in two splits."""

from __future__ import annotations

import os
import tempfile

import cv2
import numpy as np
from numpy.typing import NDArray

GRID_CELLS = 16  # rows and columns of the grid of brightness differences: 256 bits
MAX_BITS = 8  # most bits of the hash in which near-duplicates differ
THUMBNAIL_PX = 32  # side of the square thumbnail
# Smallest correlation of the thumbnails of near-duplicates. Photographs of different products on
# white may share their outline, and so their hash, but their thumbnails correlate less.
MIN_CORRELATION = 0.99
# For each split, the splits whose images it must not repeat. A near-duplicate leaves the earlier
# split: training loses it before validation, and validation before test.
PROTECTED_SPLITS = {"train": ("test", "val"), "val": ("test",), "test": ()}


def fingerprint(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The difference hash and the grey thumbnail of an image, ``uint8 [height, width, 3]``.

    Each bit of the hash tells whether a cell of the grid is darker than the cell to its right.

    Returns:
        The hash, 256 bits as ``uint8 [32]``, and the thumbnail, ``uint8 [1024]``.
    """
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grid_size = (GRID_CELLS + 1, GRID_CELLS)
    grid = cv2.resize(grey, grid_size, interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits((grid[:, 1:] > grid[:, :-1]).ravel())
    small = cv2.resize(grey, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    return bits, np.asarray(small, np.uint8).ravel()


def correlation(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """The correlation of two thumbnails, ``uint8 [1024]``, in [-1, 1]; 0 for a uniform one."""
    centred = [thumbnail - np.float32(thumbnail.mean()) for thumbnail in (one, two)]
    norms = [float(np.linalg.norm(values)) for values in centred]
    return float(centred[0] @ centred[1]) / max(norms[0] * norms[1], 1e-6)


class _Fingerprints:
    """Fingerprints of many images. Hashes are in memory; thumbnails, rarely read, in a file."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.bits = bytearray()
        self.thumbnails = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the object

    def add(self, identifier: str, rgb: NDArray[np.uint8]) -> None:
        """Add the fingerprint of an image."""
        bits, thumbnail = fingerprint(rgb)
        self.ids.append(identifier)
        self.bits += bits.tobytes()
        self.thumbnails.seek(0, os.SEEK_END)
        self.thumbnails.write(thumbnail.tobytes())

    def find(self, bits: NDArray[np.uint8], thumbnail: NDArray[np.uint8]) -> str | None:
        """The id of the first image that is a near-duplicate by its fingerprint; else None."""
        all_bits = np.frombuffer(self.bits, np.uint8).reshape(-1, len(bits))
        differing_bits = np.bitwise_count(all_bits ^ bits).sum(axis=1)
        for i in np.flatnonzero(differing_bits <= MAX_BITS).tolist():
            self.thumbnails.seek(i * len(thumbnail))
            other = np.frombuffer(self.thumbnails.read(len(thumbnail)), np.uint8)
            if correlation(other, thumbnail) >= MIN_CORRELATION:
                return self.ids[i]
        return None


class HeldOutImages:
    """An index of the validation and test images, to find near-duplicates of them.

    Two images are near-duplicates when their difference hashes differ in at most ``MAX_BITS`` bits
    and their thumbnails correlate by at least ``MIN_CORRELATION``.
    """

    def __init__(self) -> None:
        self._splits = {"val": _Fingerprints(), "test": _Fingerprints()}

    def add(self, split: str, identifier: str, rgb: NDArray[np.uint8]) -> None:
        """Add an image, ``uint8 [height, width, 3]``, of the split `val` or `test`."""
        self._splits[split].add(identifier, rgb)

    def near_duplicate(self, split: str, rgb: NDArray[np.uint8]) -> tuple[str, str] | None:
        """Find a near-duplicate of an image, ``uint8 [height, width, 3]``, of the split ``split``.

        Images of `train` are compared with those of `test` and `val`, images of `val` with those of
        `test`.

        Returns:
            The split and the id of the first near-duplicate, or None.
        """
        others = [other for other in PROTECTED_SPLITS[split] if self._splits[other].ids]
        if not others:
            return None
        bits, thumbnail = fingerprint(rgb)
        for other in others:
            if identifier := self._splits[other].find(bits, thumbnail):
                return other, identifier
        return None
