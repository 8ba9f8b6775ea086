"""The edge map of an encoded image: the same for the stage that stores it and for serving."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import CUES, configured
from structxlip.data.images import decode_grey, decode_rgb


def encoded_detector(settings: Edges) -> Callable[[bytes, int], NDArray[np.bool_]]:
    """The cue of parameters as a function of an encoded image and its shorter side in pixels, which
    returns ``bool [size_px, size_px]``.

    Own cues see the image in grey and shrunk, as ``decode_grey`` decodes it. Raises ``ValueError``
    as ``detector`` does; the function raises it for a cue that returns anything else, and
    ``BadImage`` for an image that cannot be decoded.
    """
    detect, size_px = configured(settings), settings.size_px

    def detect_encoded(data: bytes, side_px: int) -> NDArray[np.bool_]:
        own = settings.cue in CUES
        found = detect(decode_grey(data, size_px, side_px) if own else decode_rgb(data))
        if found.dtype != np.bool_ or found.shape != (size_px, size_px):
            raise ValueError(
                f"the cue {settings.cue!r} must return bool [{size_px}, {size_px}], "
                f"not {found.dtype} {list(found.shape)}"
            )
        return found

    return detect_encoded
