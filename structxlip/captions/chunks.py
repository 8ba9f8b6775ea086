"""Chunks of a caption as character spans, and the sliding windows that need no parse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
# From the first to the last letter or digit between two spaces, with a mask's brackets and "%".
_WORD = re.compile(r"(?=\S*\w)[\w\[](?:\S*[\w\]%])?")


@dataclass(frozen=True)
class Chunk:
    """The span ``text[start:end]`` of a caption, in characters."""

    start: int
    end: int
    kind: Literal["noun_phrase", "prepositional_phrase", "window"]


def sliding_chunks(
    text: str, base_window: int = 3, stride: int = 1, max_chunks: int = 64
) -> list[Chunk]:
    """Windows of words inside each sentence, in order, at most ``max_chunks``.

    A window has 2 words in sentences of at most 4 words, ``base_window`` of at most 10, one more
    of at most 20, two more of at most 40, and three more beyond; it moves on by ``stride`` words.
    A sentence that is shorter than its window is one chunk. Raises ``ValueError`` for arguments
    that are not positive.
    """
    if min(base_window, stride, max_chunks) < 1:
        raise ValueError(
            "base_window, stride and max_chunks must be positive, "
            f"not {base_window}, {stride} and {max_chunks}"
        )
    chunks: list[Chunk] = []
    for words in _sentences(text):
        window = min(_window(len(words), base_window), len(words))
        for first in range(0, len(words) - window + 1, stride):
            if len(chunks) == max_chunks:
                return chunks
            start, end = words[first][0], words[first + window - 1][1]
            chunks.append(Chunk(start, end, "window"))
    return chunks


def _sentences(text: str) -> list[list[tuple[int, int]]]:
    """The spans of the words of each sentence that has any."""
    breaks = [match.end() for match in _SENTENCE_END.finditer(text)]
    sentences = []
    for start, end in zip([0, *breaks], [*breaks, len(text)], strict=True):
        words = [match.span() for match in _WORD.finditer(text, start, end)]
        if words:
            sentences.append(words)
    return sentences


def _window(words: int, base: int) -> int:
    if words <= 4:
        return 2
    for extra, limit in enumerate((10, 20, 40)):
        if words <= limit:
            return base + extra
    return base + 3
