"""Encoders that fill a feature store: frozen towers, or pixels and tokens for a trained CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError
from structxlip.features.store import RowSpec
from structxlip.models.towers.clip import shared_clip
from structxlip.models.towers.image import (
    ImageTower,
    check_image_px,
    squares,
)
from structxlip.models.towers.kinds import load_image_tower, load_text_tower
from structxlip.models.towers.offsets import Span, character_offsets, token_counts
from structxlip.models.towers.text import TextTower


class Pixels:
    """Images as a trained image tower reads them, ``uint8 [side, side, 3]``."""

    def __init__(self, side: int) -> None:
        self.image_px = side
        self.row = RowSpec("uint8", (side, side, 3))

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
        """RGB images of any size as ``[N, side, side, 3]``."""
        return squares(images, self.image_px)


class Tokens:
    """Texts as a trained text tower reads them, ``int32 [L]``; chunks as tokens [first, last)."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.limit: int = tokenizer.context_length
        self.row = RowSpec("int32", (self.limit,))
        self.chunk_row = RowSpec("int32", (2,))

    def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text before truncation."""
        return token_counts(self.tokenizer, texts)

    def encode(
        self,
        texts: Sequence[str],
        spans: Sequence[Sequence[Span]] | None = None,
        weights: Sequence[Sequence[float]] | None = None,
    ) -> tuple[NDArray[np.int32], list[NDArray[np.int32]]]:
        """Token ids ``[N, L]`` of texts and, for each, the tokens of its spans ``[C_i, 2]``.

        A span of which no token is left after truncation is empty, (0, 0). ``weights`` are refused
        (``UserError``): a CLIP reads a text off its last token.
        """
        if weights is not None:
            raise UserError(
                "captions.mode downweight needs a text tower that pools its tokens, such as "
                "packaged:all-minilm-l6-v2; use drop or mask",
                2,
            )
        ids = self.tokenizer(list(texts)).numpy().astype(np.int32)
        found = [np.zeros((0, 2), np.int32)] * len(texts)
        for i, wanted in enumerate(spans or []):
            if wanted:
                offsets = np.array(character_offsets(self.tokenizer, texts[i]))
                found[i] = np.array([_covered(offsets, span) for span in wanted], np.int32)
        return ids, found


def _covered(offsets: NDArray[np.int64], span: Span) -> tuple[int, int]:
    start, end = offsets.T
    inside = np.flatnonzero((start < span[1]) & (end > span[0]) & (end > start))
    return (int(inside[0]), int(inside[-1]) + 1) if len(inside) else (0, 0)


def load_encoders(
    image_tower: str, text_tower: str, image_px: int, max_tokens: int | None, *, frozen: bool
) -> tuple[ImageTower | Pixels, TextTower | Tokens]:
    """The encoders that turn images and texts into the rows of a feature store.

    Args:
        image_tower: its name ``KIND:NAME``.
        text_tower: its name ``KIND:NAME``.
        image_px: side of the image input.
        max_tokens: that the text tower reads; None for all.
        frozen: whether the towers keep their weights, so that their outputs can be stored.

    Raises ``UserError`` with what to do when a tower cannot be had.
    """
    if frozen:
        images = load_image_tower(image_tower, image_px, max_tokens)
        return images, load_text_tower(text_tower, max_tokens)
    loaded = shared_clip(text_tower, max_tokens)
    check_image_px(image_tower, loaded.model.visual, image_px)
    return Pixels(image_px), Tokens(loaded.tokenizer)
