"""Find near-duplicate images, so that none is in two splits."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray
from PIL import ImageColor

GRID_CELLS = 16  # rows and columns of the grid of brightness differences: 256 bits
FLAT = 1  # grey levels that are no difference, but the noise of flat ground
MAX_BITS = 24  # most bits of the hash in which near-duplicates differ
THUMBNAIL_PX = 32  # side of the square thumbnail
COLOUR_CELLS = 16  # rows and columns of the grid of colours
# Smallest correlation of the thumbnails of near-duplicates. Photographs of different products on
# white may share their outline, and so their hash, but their thumbnails correlate less.
MIN_CORRELATION = 0.995
# Largest difference of colour of near-duplicates whose captions name other colours, in units of
# CIE L*a*b*, of which a viewer sees about two. A copy that is packed hard differs by less than 4.
MAX_COLOUR_DIFFERENCE = 5.0
COLOUR_PERCENTILE = 90  # of the cells: what has another colour may fill a tenth of the picture
# English words for colours: those of CSS, and others that describe products.
COLOUR_WORDS = frozenset(ImageColor.colormap) | {
    *("amber", "apricot", "auburn", "blond", "blonde", "bronze", "burgundy", "camel", "charcoal"),
    *("copper", "cream", "denim", "ecru", "emerald", "ginger", "gunmetal", "lilac", "mauve"),
    *("mint", "mustard", "nude", "ochre", "oxblood", "peach", "rose", "rust", "sand", "scarlet"),
    *("stone", "taupe", "vermilion", "wine"),
}
# For each split, the splits whose images it must not repeat. A near-duplicate leaves the earlier
# split: training loses it before validation, and validation before test.
PROTECTED_SPLITS = {"train": ("test", "val"), "val": ("test",), "test": ()}


class Fingerprint(NamedTuple):
    """A hash, a thumbnail and the colours of an image, by which two images are compared.

    Attributes:
        bits: the difference hash, 256 bits as ``uint8 [32]``. Each tells whether a cell of the grid
            is darker than the cell to its right.
        thumbnail: grey, ``uint8 [1024]``.
        colours: the grid of colours, RGB, ``uint8 [768]``.
    """

    bits: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]
    colours: NDArray[np.uint8]


def fingerprint(rgb: NDArray[np.uint8]) -> Fingerprint:
    """The fingerprint of an image, ``uint8 [height, width, 3]``."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    grid = _shrunk(grey, GRID_CELLS + 1, GRID_CELLS).astype(np.int16)
    return Fingerprint(
        bits=np.packbits((grid[:, 1:] > grid[:, :-1] + FLAT).ravel()),
        thumbnail=_shrunk(grey, THUMBNAIL_PX, THUMBNAIL_PX).ravel(),
        colours=_shrunk(rgb, COLOUR_CELLS, COLOUR_CELLS).ravel(),
    )


def _shrunk(image: MatLike, width: int, height: int) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def correlation(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """The correlation of two thumbnails, ``uint8 [1024]``, in [-1, 1]; 0 for a uniform one."""
    centred = [thumbnail - np.float32(thumbnail.mean()) for thumbnail in (one, two)]
    norms = [float(np.linalg.norm(values)) for values in centred]
    return float(centred[0] @ centred[1]) / max(norms[0] * norms[1], 1e-6)


def colour_difference(one: NDArray[np.uint8], two: NDArray[np.uint8]) -> float:
    """The difference of two grids of colours, RGB ``uint8 [768]``, in CIE L*a*b*.

    It is the distance of the cells that ``COLOUR_PERCENTILE`` of all cells do not exceed.
    """
    shares = [grid.reshape(-1, 1, 3).astype(np.float32) / 255 for grid in (one, two)]
    first, second = (cv2.cvtColor(share, cv2.COLOR_RGB2LAB) for share in shares)
    distances = np.linalg.norm(np.asarray(first) - np.asarray(second), axis=-1)
    return float(np.percentile(distances, COLOUR_PERCENTILE))


def colour_words(captions: Iterable[object]) -> str:
    """The colours that captions name, in order and with spaces between them.

    What is no text is passed over.
    """
    texts = (text.lower() for text in captions if isinstance(text, str))
    words = {word for text in texts for word in re.findall("[a-z]+", text)}
    return sys.intern(" ".join(sorted(words & COLOUR_WORDS)))


class _Fingerprints:
    """Fingerprints of many images. Hashes are in memory; the rest, rarely read, in a file."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.colour_words: list[str] = []
        self.bits = bytearray()
        self.others = tempfile.TemporaryFile()  # noqa: SIM115  # open as long as the object

    def add(self, identifier: str, rgb: NDArray[np.uint8], colours: str) -> None:
        """Add the fingerprint of an image whose captions name these colours."""
        found = fingerprint(rgb)
        self.ids.append(identifier)
        self.colour_words.append(colours)
        self.bits += found.bits.tobytes()
        self.others.seek(0, os.SEEK_END)
        self.others.write(found.thumbnail.tobytes() + found.colours.tobytes())

    def find(self, wanted: Fingerprint, colours: str) -> str | None:
        """The id of the first image that is a near-duplicate by its fingerprint; else None."""
        all_bits = np.frombuffer(self.bits, np.uint8).reshape(-1, len(wanted.bits))
        differing_bits = np.bitwise_count(all_bits ^ wanted.bits).sum(axis=1)
        size = len(wanted.thumbnail) + len(wanted.colours)
        for i in np.flatnonzero(differing_bits <= MAX_BITS).tolist():
            self.others.seek(i * size)
            other = np.frombuffer(self.others.read(size), np.uint8)
            thumbnail, grid = np.split(other, [len(wanted.thumbnail)])
            alike = correlation(thumbnail, wanted.thumbnail) >= MIN_CORRELATION
            if alike and self.colour_words[i] != colours:
                alike = colour_difference(grid, wanted.colours) <= MAX_COLOUR_DIFFERENCE
            if alike:
                return self.ids[i]
        return None


class HeldOutImages:
    """An index of the validation and test images, to find near-duplicates of them.

    Two images are near-duplicates when their difference hashes differ in at most ``MAX_BITS`` bits
    and their thumbnails correlate by at least ``MIN_CORRELATION``. Both compare brightness alone.
    So colours are compared too where the captions name other colours: a product in another colour
    is another product, while a picture with faded colours and the same captions is the same.
    """

    def __init__(self) -> None:
        self._splits = {"val": _Fingerprints(), "test": _Fingerprints()}

    def add(
        self, split: str, identifier: str, rgb: NDArray[np.uint8], captions: Iterable[object] = ()
    ) -> None:
        """Add an image, ``uint8 [height, width, 3]``, of the split `val` or `test`."""
        self._splits[split].add(identifier, rgb, colour_words(captions))

    def near_duplicate(
        self, split: str, rgb: NDArray[np.uint8], captions: Iterable[object] = ()
    ) -> tuple[str, str] | None:
        """Find a near-duplicate of an image, ``uint8 [height, width, 3]``, of the split ``split``.

        Images of `train` are compared with those of `test` and `val`, images of `val` with those of
        `test`.

        Returns:
            The split and the id of the first near-duplicate, or None.
        """
        others = [other for other in PROTECTED_SPLITS[split] if self._splits[other].ids]
        if not others:
            return None
        wanted, colours = fingerprint(rgb), colour_words(captions)
        for other in others:
            if identifier := self._splits[other].find(wanted, colours):
                return other, identifier
        return None
