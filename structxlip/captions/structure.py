"""The structure-centric form of a caption, read off its parse: what is where, not how it looks."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from structxlip.captions.appearance import appearance_of, is_content
from structxlip.captions.chunks import Chunk, sliding_chunks
from structxlip.captions.dangling import SOFT_PUNCTUATION, with_dangling
from structxlip.captions.lexicon import Lexicon
from structxlip.captions.phrases import phrases_of

if TYPE_CHECKING:
    from spacy.tokens import Doc

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class StructuralCaption:
    """A structural caption, its chunks, whose offsets are characters of ``text``, and the weight of
    each of its words, ``text.split()``."""

    text: str
    chunks: tuple[Chunk, ...]
    weights: tuple[float, ...]


def structure_caption(
    doc: Doc,
    *,
    method: Literal["parse", "lexicon"] = "parse",
    mode: Literal["drop", "mask", "downweight"] = "drop",
    mask_word: str = "[MASK]",
    downweight: float = 0.25,
    chunks: Literal["phrases", "windows"] = "phrases",
    max_chunks: int = 32,
    lexicon: Lexicon,
) -> StructuralCaption:
    """Keep the structure of a parsed caption and drop, mask or play down how things look.

    Nouns, verbs, numbers, prepositions, particles, negations and function words stay, and so do
    the adjectives and adverbs that ``lexicon.keep`` lists. Other adjectives and adverbs go, and so
    do colours, materials and textures in the role of a modifier ("leather jacket", "a man in
    blue", "made of wood"); as things of their own ("a glass of water", "an orange") they stay.
    With ``method="lexicon"`` only words of ``lexicon.drop`` go, in those roles, and all other
    adjectives and adverbs stay.

    Dropping also removes what would be left dangling: a preposition or copula without its
    complement, a conjunction without its conjunct, a comma of a list. Masking puts one
    ``mask_word`` for each run of such words. Playing down keeps all words and gives these the
    weight ``downweight``; all other weights are 1. A caption that would lose every content word
    stays whole. ``text`` is one line with single spaces.

    Chunks are the noun phrases and prepositional phrases that still have their noun, in order of
    their start, at most ``max_chunks``; sliding windows where there is none, or with
    ``chunks="windows"``.

    Raises ``ValueError`` for an empty text, a ``doc`` without a parse, and bad arguments.
    """
    if not doc.text.strip():
        raise ValueError("the caption is empty")
    if not doc.has_annotation("DEP"):
        raise ValueError("the caption is not parsed: the language model needs a parser")
    for name, value, valid in (
        ("method", method, ("parse", "lexicon")),
        ("mode", mode, ("drop", "mask", "downweight")),
        ("chunks", chunks, ("phrases", "windows")),
    ):
        if value not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, not {value!r}")
    if max_chunks < 1 or not 0 <= downweight <= 1:
        raise ValueError(
            f"needs max_chunks >= 1 and 0 <= downweight <= 1, not {max_chunks} and {downweight}"
        )
    if not mask_word or mask_word != " ".join(mask_word.split()):
        raise ValueError(f"mask_word must be words with single spaces, not {mask_word!r}")
    gone = appearance_of(doc, lexicon, listed_only=method == "lexicon")
    if mode == "drop":
        gone = with_dangling(doc, gone, lexicon)
    if not any(is_content(token, lexicon) for token in doc if token.i not in gone):
        gone = set()
    faded: set[int] = set()
    if mode == "downweight":
        gone, faded = set(), gone
    pieces = _masked(doc, gone, mask_word) if mode == "mask" else _remaining(doc, gone)
    text, spans = _join(doc, pieces)
    found = phrases_of(doc, gone, text, spans, lexicon) if chunks == "phrases" else []
    found = found[:max_chunks] or sliding_chunks(text, max_chunks=max_chunks)
    return StructuralCaption(text, tuple(found), _weights(text, spans, faded, downweight))


# --- Text and offsets

_Piece = tuple[str, int, int]  # a text, and the first and last token that it stands for


def _remaining(doc: Doc, gone: set[int]) -> list[_Piece]:
    return [(t.text, t.i, t.i) for t in doc if t.i not in gone and not t.is_space]


def _masked(doc: Doc, gone: set[int], mask_word: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    between: list[_Piece] = []  # "," and "and" since the last mask: part of it if a mask follows
    in_run = False
    for token in doc:
        if token.is_space:
            continue
        if token.i not in gone:
            between.append((token.text, token.i, token.i))
            if token.pos_ != "CCONJ" and token.text not in SOFT_PUNCTUATION:
                pieces += between
                between, in_run = [], False
        elif in_run:
            pieces[-1] = (mask_word, pieces[-1][1], token.i)
            between = []
        else:
            pieces += [*between, (mask_word, token.i, token.i)]
            between, in_run = [], True
    return pieces + between


def _join(doc: Doc, pieces: Iterable[_Piece]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The text of the pieces, and the characters that stand for each of their tokens."""
    text = ""
    spans: dict[int, tuple[int, int]] = {}
    last = -1
    for piece, start, end in pieces:
        if text and _is_spaced(doc, last, start):
            text += " "
        for i in range(start, end + 1):
            spans[i] = (len(text), len(text) + len(piece))
        text += piece
        last = end
    return text, spans


def _weights(
    text: str, spans: dict[int, tuple[int, int]], faded: set[int], downweight: float
) -> tuple[float, ...]:
    """The weight of each word between spaces: lower where all of its letters are faded."""
    faint = [spans[i] for i in faded]
    return tuple(
        downweight
        if all(
            any(start <= i < end for start, end in faint)
            for i in range(*word.span())
            if text[i].isalnum()
        )
        and re.search(r"\w", word[0])
        else 1.0
        for word in _WORD.finditer(text)
    )


def _is_spaced(doc: Doc, left: int, right: int) -> bool:
    if right == left + 1:
        return bool(doc[left].whitespace_)
    if any(token.is_space for token in doc[left + 1 : right]):
        return True
    touches = doc[left].is_punct or doc[right].is_punct
    return not touches or bool(doc[left].whitespace_ and doc[right - 1].whitespace_)
