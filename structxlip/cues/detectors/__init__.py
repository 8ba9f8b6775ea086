"""Edge detectors, one file each: the cue `canny` is the function ``canny`` in ``canny.py``.

A new cue is a new file here. A package may add one by an entry point too.
"""

from __future__ import annotations

import difflib
import inspect
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from structxlip.config import EdgeBranch, Edges
from structxlip.cues.detectors.learned import LearnedDetector
from structxlip.cues.png import EdgeMap, given_edges

LEARNED = "learned"
# The entry points of a package that adds a cue: NAME = "module:detector".
ENTRY_POINTS = "structxlip.cues"


class Detector(Protocol):
    """Turns an image, ``uint8 [height, width, 3]``, into an edge map.

    The type of the map says what it is:

    - a binary map, ``bool [size_px, size_px]``;
    - a soft map, ``uint8 [1, size_px, size_px]``, from 0 to 255;
    - cells, ``uint8 [bins, cells, cells]``: in each cell of a grid, how much of the outline runs in
      each of ``bins`` orientations from 0 to 180 degrees. Its detector takes ``cells`` too.

    ``low`` and ``high`` are in the detector's own units; ``None`` derives them from the image.
    """

    def __call__(
        self,
        image: NDArray[np.uint8],
        *,
        size_px: int,
        blur_sigma: float = 1.0,
        low: float | None = None,
        high: float | None = None,
    ) -> EdgeMap: ...


def built_in_cues() -> list[str]:
    """The names of the detectors of this folder, without `learned`."""
    return sorted(
        {file.stem for file in Path(__file__).parent.glob("*.py")} - {"__init__", LEARNED}
    )


def find_detector(name: str, weights: str | None = None) -> Detector:
    """The detector with a name: a file of this folder, an entry point, or `learned` with its ONNX
    file.

    Raises ``ValueError`` for an unknown name, with the nearest known one; for weights that are
    missing, unwanted or unreadable; and for an entry point that cannot be loaded.
    """
    if (name == LEARNED) != (weights is not None):
        raise ValueError(
            f"the cue {LEARNED!r} needs weights, an ONNX file, and no other takes any; "
            f"got {name!r} with {weights or 'none'}"
        )
    if weights is not None:
        return LearnedDetector(weights)
    if name in built_in_cues():
        found: Detector = getattr(import_module(f"{__name__}.{name}"), name)
        return found
    others = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in others:
        try:
            found = others[name].load()
        except Exception as error:  # whatever a module of somebody else's raises
            raise ValueError(
                f"the cue {name!r} of {others[name].value} is broken: {error}"
            ) from error
        return found
    known = sorted({*built_in_cues(), *others, LEARNED})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(known)}"
    raise ValueError(f"unknown cue {name!r}; {hint}")


class ConfiguredCue:
    """The cue that the parameters name, as a function of the image alone.

    It takes the pixels that the image tower reads, RGB ``uint8 [height, width, 3]``, so that the
    edge map shows the picture as the tower sees it. It is tried on a black picture at once.

    Attributes:
        blank: the map of a picture without any structure, all 0.

    Raises what ``find_detector`` raises, and ``ValueError`` for a cue that fails, or returns
    anything but one of the maps of ``Detector``.
    """

    def __init__(self, settings: Edges) -> None:
        self.settings = settings
        self.detector = find_detector(settings.cue, settings.weights)
        parameters = inspect.signature(self.detector).parameters
        self.grid = {"cells": settings.cells} if "cells" in parameters else {}
        try:
            self.blank: EdgeMap = np.zeros_like(self(np.zeros((64, 64, 3), np.uint8)))
        except ValueError:
            raise
        except Exception as error:  # whatever a detector of somebody else's raises
            raise ValueError(f"the cue {settings.cue!r} is broken: {error}") from error

    def __call__(self, rgb: NDArray[np.uint8]) -> EdgeMap:
        """The edge map of an image."""
        settings = self.settings
        edges = self.detector(
            rgb,
            size_px=settings.size_px,
            blur_sigma=settings.blur_sigma,
            low=settings.low,
            high=settings.high,
            **self.grid,
        )
        side = self.grid.get("cells", settings.size_px)
        kind = (edges.dtype.name, edges.ndim, edges.shape[-2:])
        if kind not in (("bool", 2, (side, side)), ("uint8", 3, (side, side))):
            raise ValueError(
                f"the cue {settings.cue!r} must return bool [{side}, {side}] or uint8 [channels, "
                f"{side}, {side}], not {edges.dtype} {list(edges.shape)}"
            )
        return edges

    def of_given(self, rgb: NDArray[np.uint8]) -> EdgeMap:
        """The edge map of an image that brings its own, ``rgb``, in the form of this cue.

        A cue that is not binary reads the lines of the map as its picture.
        """
        lines = given_edges(rgb, self.settings.size_px)
        return lines if self.is_binary else self(lines.astype(np.uint8) * 255)

    @property
    def is_binary(self) -> bool:
        """Whether maps are ``bool``."""
        return self.blank.dtype == np.bool_

    @property
    def channels(self) -> int:
        """Channels of a map as the edge branch reads it."""
        return 1 if self.is_binary else len(self.blank)


def check_reads(branch: EdgeBranch, channels: int) -> None:
    """Raise ``ValueError`` unless an edge branch reads maps of so many channels."""
    if branch == "none" or (branch == "descriptor") == (channels > 1):
        return
    if branch == "descriptor":
        raise ValueError(
            "edge_branch: descriptor reads cells, and the cue gives maps of pixels; set edges.cue "
            "to orientations, or edge_branch to cnn"
        )
    raise ValueError(
        f"edge_branch: {branch} reads maps of pixels, and the cue gives cells of {channels} "
        f"orientations; set edge_branch to descriptor"
    )
