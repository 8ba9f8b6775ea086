"""Edge detectors, one file each: the cue `canny` is the function ``canny`` in ``canny.py``.

A new cue is a new file here. A package may add one by an entry point too.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues.detectors.learned import LearnedDetector

LEARNED = "learned"
# The entry points of a package that adds a cue: NAME = "module:detector".
ENTRY_POINTS = "structxlip.cues"


class Detector(Protocol):
    """Turns an image, ``uint8 [height, width, 3]``, into an edge map, ``bool [size_px, size_px]``.

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
    ) -> NDArray[np.bool_]: ...


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


def configured_detector(settings: Edges) -> Callable[[NDArray[np.uint8]], NDArray[np.bool_]]:
    """The detector that the parameters name, as a function of the image alone.

    It takes the pixels that the image tower reads, RGB ``uint8 [height, width, 3]``, so that the
    edge map shows the picture as the tower sees it. It returns ``bool [size_px, size_px]``, and
    raises ``ValueError`` for a cue that returns anything else.

    Raises what ``find_detector`` raises.
    """
    detector, size_px = find_detector(settings.cue, settings.weights), settings.size_px

    def detect(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
        edges = detector(
            rgb,
            size_px=size_px,
            blur_sigma=settings.blur_sigma,
            low=settings.low,
            high=settings.high,
        )
        if edges.dtype != np.bool_ or edges.shape != (size_px, size_px):
            raise ValueError(
                f"the cue {settings.cue!r} must return bool [{size_px}, {size_px}], "
                f"not {edges.dtype} {list(edges.shape)}"
            )
        return edges

    return detect
