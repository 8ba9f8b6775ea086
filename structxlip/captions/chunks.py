"""Chunks of a caption as character spans, and sliding windows, which need no parse."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

# A mark that ends a clause, or what holds such a mark and ends none: an entity, an abbreviation.
# Marks inside a number or a name end none either: "2.5", "1,000", "U.S".
_MARK = re.compile(
    r"&#?\w{1,31};|\b(?:(?:[a-z]\.)+[a-z]|approx|ca|cf|dr|mrs?|ms|st|vs)\."
    r"|(?P<end>[;!?。，；！？\n]|,(?!(?<=\d,)\d)|\.(?!\w))",
    re.IGNORECASE,
)
_WORD = re.compile(r"\S+")
_OPENS, _ENDS = "_[", "_]%"  # of a word, beside letters and digits: [MASK], 92%


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
    """Cut a caption into windows of words. No window crosses the end of a clause.

    A clause goes up to the next ``.``, ``,``, ``;``, ``!`` or ``?``. Such a mark inside a number or
    an abbreviation ends none: "2.5 cm", "1,000", "e.g. a dog". The size of the window grows with
    the length of the clause:

    | words in the clause | words in the window |
    |---|---|
    | up to 4 | 2 |
    | up to 10 | ``base_window`` |
    | up to 20 | ``base_window + 1`` |
    | up to 40 | ``base_window + 2`` |
    | more | ``base_window + 3`` |

    A clause that is shorter than its window is one chunk.

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
    for word_spans in _clauses(text):
        window = min(_window_size(len(word_spans), base_window), len(word_spans))
        for first in range(0, len(word_spans) - window + 1, stride):
            if len(chunks) == max_chunks:
                return chunks
            start, end = word_spans[first][0], word_spans[first + window - 1][1]
            chunks.append(Chunk(start, end, "window"))
    return chunks


def _clauses(text: str) -> list[list[tuple[int, int]]]:
    """The character spans of the words of each clause. Clauses without a word are left out."""
    ends = [mark.end() for mark in _MARK.finditer(text) if mark["end"]]
    clauses = []
    for start, end in zip([0, *ends], [*ends, len(text)], strict=True):
        word_spans = [_trimmed(text, *run.span()) for run in _WORD.finditer(text, start, end)]
        if found := [(first, last) for first, last in word_spans if first < last]:
            clauses.append(found)
    return clauses


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """The span of a word without the punctuation around it; empty when there is nothing else."""
    if not any(character.isalnum() for character in text[start:end]):
        return start, start
    while not (text[start].isalnum() or text[start] in _OPENS):
        start += 1
    while not (_is_letter(text[end - 1]) or text[end - 1] in _ENDS):
        end -= 1
    return start, end


def _is_letter(character: str) -> bool:
    """Whether a character is a letter, a digit, or a mark on one, such as a vowel sign."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _window_size(clause_words: int, base_window: int) -> int:
    """Words in a window, for a clause of ``clause_words`` words."""
    if clause_words <= 4:
        return 2
    for extra, limit in enumerate((10, 20, 40)):
        if clause_words <= limit:
            return base_window + extra
    return base_window + 3
