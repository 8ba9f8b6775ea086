"""Chunks of a caption as character spans, and sliding windows, which need no parse."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n")
# A run without spaces, from its first to its last letter or digit. "[" may open it, as in [MASK];
# "]" and "%" may end it.
_WORD = re.compile(r"(?=\S*\w)[\w\[](?:\S*[\w\]%])?")


@dataclass(frozen=True)
class Chunk:
    """The part ``text[start:end]`` of a caption.

    Attributes:
        start: the first character.
        end: the character after the last one.
        kind: the phrase that it is, or `window` for a sliding window.
    """

    start: int
    end: int
    kind: Literal["noun_phrase", "prepositional_phrase", "window"]


def sliding_chunks(
    text: str, base_window: int = 3, stride: int = 1, max_chunks: int = 64
) -> list[Chunk]:
    """Cut a caption into windows of words. No window crosses the end of a sentence.

    The size of the window grows with the length of the sentence:

    | words in the sentence | words in the window |
    |---|---|
    | up to 4 | 2 |
    | up to 10 | ``base_window`` |
    | up to 20 | ``base_window + 1`` |
    | up to 40 | ``base_window + 2`` |
    | more | ``base_window + 3`` |

    A sentence that is shorter than its window is one chunk.

    Args:
        text: the caption.
        base_window: words in a window, see the table.
        stride: words from the start of one window to the start of the next.
        max_chunks: most windows of the whole caption; later ones are left out.

    Returns:
        The windows in the order of the text.

    Raises:
        ValueError: a number that is not positive.
    """
    if min(base_window, stride, max_chunks) < 1:
        raise ValueError(
            "base_window, stride and max_chunks must be positive, "
            f"not {base_window}, {stride} and {max_chunks}"
        )
    chunks: list[Chunk] = []
    for word_spans in _sentences(text):
        window = min(_window_size(len(word_spans), base_window), len(word_spans))
        for first in range(0, len(word_spans) - window + 1, stride):
            if len(chunks) == max_chunks:
                return chunks
            start, end = word_spans[first][0], word_spans[first + window - 1][1]
            chunks.append(Chunk(start, end, "window"))
    return chunks


def _sentences(text: str) -> list[list[tuple[int, int]]]:
    """The character spans of the words of each sentence. Sentences without a word are left out."""
    breaks = [match.end() for match in _SENTENCE_END.finditer(text)]
    sentences = []
    for start, end in zip([0, *breaks], [*breaks, len(text)], strict=True):
        word_spans = [match.span() for match in _WORD.finditer(text, start, end)]
        if word_spans:
            sentences.append(word_spans)
    return sentences


def _window_size(sentence_words: int, base_window: int) -> int:
    """Words in a window, for a sentence of ``sentence_words`` words."""
    if sentence_words <= 4:
        return 2
    for extra, limit in enumerate((10, 20, 40)):
        if sentence_words <= limit:
            return base_window + extra
    return base_window + 3
