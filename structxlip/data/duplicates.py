"""Pictures that are nearly the same: none may stand on both sides of a split."""

from __future__ import annotations

import os
import tempfile

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 16  # of the grid of brightness differences: 256 bits
MAX_BITS = 8  # that may differ
THUMBNAIL = 32
MIN_CORRELATION = 0.99  # of the thumbnails: products on white share their outline, and not this
STRICTER = {"train": ("test", "val"), "val": ("test",), "test": ()}


def fingerprint(rgb: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The difference hash of a picture, 256 bits as bytes ``[32]``, and its grey thumbnail
    ``[1024]``."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grid = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = np.packbits((grid[:, 1:] > grid[:, :-1]).ravel())
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return bits, np.asarray(small, np.uint8).ravel()


def correlation(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """Of two thumbnails, in [-1, 1]; 0 where one is of a single grey."""
    centred = [thumbnail - np.float32(thumbnail.mean()) for thumbnail in (one, two)]
    norms = [float(np.linalg.norm(values)) for values in centred]
    return float(centred[0] @ centred[1]) / max(norms[0] * norms[1], 1e-6)


class _Fingerprints:
    """Fingerprints of many pictures: hashes in memory, the rarely needed thumbnails in a file."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.bits = bytearray()
        self.thumbnails = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as this

    def add(self, identifier: str, rgb: NDArray[np.uint8]) -> None:
        bits, thumbnail = fingerprint(rgb)
        self.ids.append(identifier)
        self.bits += bits.tobytes()
        self.thumbnails.seek(0, os.SEEK_END)
        self.thumbnails.write(thumbnail.tobytes())

    def find(self, bits: NDArray[np.uint8], thumbnail: NDArray[np.uint8]) -> str | None:
        """The id of the first picture that is nearly the one with this fingerprint."""
        known = np.frombuffer(self.bits, np.uint8).reshape(-1, len(bits))
        differing = np.bitwise_count(known ^ bits).sum(axis=1)
        for i in np.flatnonzero(differing <= MAX_BITS).tolist():
            self.thumbnails.seek(i * len(thumbnail))
            other = np.frombuffer(self.thumbnails.read(len(thumbnail)), np.uint8)
            if correlation(other, thumbnail) >= MIN_CORRELATION:
                return self.ids[i]
        return None


class HeldOut:
    """The pictures of the validation and test splits, to find what comes again in another split.

    A picture comes again when at most ``MAX_BITS`` of its difference hash differ and the thumbnails
    correlate by at least ``MIN_CORRELATION``.
    """

    def __init__(self) -> None:
        self._splits = {"val": _Fingerprints(), "test": _Fingerprints()}

    def add(self, split: str, identifier: str, rgb: NDArray[np.uint8]) -> None:
        """Remember a picture of the split `val` or `test`."""
        self._splits[split].add(identifier, rgb)

    def again(self, split: str, rgb: NDArray[np.uint8]) -> tuple[str, str] | None:
        """The split and id of a remembered picture of a stricter split that is nearly this one."""
        stricter = [other for other in STRICTER[split] if self._splits[other].ids]
        if not stricter:
            return None
        found = fingerprint(rgb)
        for other in stricter:
            if identifier := self._splits[other].find(*found):
                return other, identifier
        return None
