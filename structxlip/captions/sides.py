"""Find captions that name a side, such as "left": their images must not be mirrored."""

from __future__ import annotations

import re

_SIDE = re.compile(
    r"(?<![^\W\d_])"  # no letter before
    r"(?:(?:left|right)(?:most|wards?|hand(?:ed)?)?"
    r"|(?:counter|anti)?clockwise"
    r"|(?:north|south)?(?:east|west)(?:wards?|ern(?:most)?|erly|bound)?)"
    r"(?![^\W\d_])",
    re.IGNORECASE,
)


def names_side(text: str) -> bool:
    """Whether a caption names a side or a direction, such as "left", "east" or "clockwise"."""
    return _SIDE.search(text) is not None
