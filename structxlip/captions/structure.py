"""The structural caption: a caption without the words that describe appearance.

The paper calls it the structure-centric caption.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from structxlip.captions.appearance import appearance_of, is_content
from structxlip.captions.chunks import Chunk, sliding_chunks
from structxlip.captions.dangling import SOFT_PUNCTUATION, with_dangling
from structxlip.captions.lexicon import Lexicon
from structxlip.captions.phrases import phrases_of
from structxlip.captions.tree import Tree

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_WORD = re.compile(r"\S+")
# A word that begins with the sound of a vowel: "apple", "hour", "MRI", "8", but not "one", "unit".
_VOWEL_SOUND = re.compile(
    r"(?:[aio](?!ne\b|nce\b)|e(?!u)|u(?!n[iy]|s[aeu]|t[ei])|hour|honest|heir|8|11\b|18\b"
    r"|(?-i:[AEFHILMNORSX](?:[A-Z0-9]+\b|\b|-)))",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class StructuralCaption:
    """A structural caption.

    Attributes:
        text: the caption, one line with single spaces.
        chunks: its chunks, with offsets in characters of ``text``.
        weights: a weight in [0, 1] for each word of ``text.split()``.
        chunks_left_out: the number of chunks beyond ``max_chunks``.
    """

    text: str
    chunks: tuple[Chunk, ...]
    weights: tuple[float, ...]
    chunks_left_out: int = 0


def structure_caption(
    doc: Doc,
    *,
    method: Literal["parse", "lexicon"] = "parse",
    mode: Literal["drop", "mask", "downweight"] = "drop",
    mask_word: str = "[MASK]",
    downweight: float = 0.25,
    chunks: Literal["phrases", "windows"] = "phrases",
    max_chunks: int = 96,
    lexicon: Lexicon,
) -> StructuralCaption:
    """Keep the structure of a parsed caption, and drop, mask or downweight its appearance words.

    Structure is what there is, where, how many, and of which shape and size. Nouns, verbs, numbers,
    prepositions, particles, negations and function words stay, and so do the adjectives and adverbs
    of ``lexicon.keep``. All other adjectives and adverbs are appearance words. Colours, materials
    and textures are appearance words where they describe another word ("leather jacket", "a man in
    blue", "made of wood"). They stay where they are things themselves ("a glass of water", "an
    orange").

    A caption that would lose every content word stays whole.

    Args:
        doc: the caption, parsed by spaCy.
        method: `parse` as above. With `lexicon` only words of ``lexicon.drop`` are appearance
            words, in the same roles.
        mode: `drop` removes appearance words, and with them each word that would dangle: a
            preposition or copula without its complement, a conjunction without its conjunct, a
            comma of a list. `mask` replaces each run of appearance words by one ``mask_word``.
            `downweight` keeps all words.
        mask_word: one or more words with single spaces.
        downweight: weight in [0, 1] of appearance words with mode `downweight`. All other weights
            are 1.
        chunks: `phrases` are the noun phrases and prepositional phrases that still have their
            noun; a caption without any gets windows. `windows` are those of ``sliding_chunks``.
        max_chunks: most chunks, in the order of their start; later ones are left out.
        lexicon: the words to keep and to drop.

    Raises:
        ValueError: an empty caption, a ``doc`` without a parse, or an argument out of range.
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
    tree = Tree(doc)
    removed = appearance_of(tree, lexicon, listed_only=method == "lexicon")
    if mode == "drop":
        removed = with_dangling(tree, removed, lexicon)
    if not any(is_content(token, lexicon) for token in tree.tokens if token.i not in removed):
        removed = set()
    downweighted: set[int] = set()
    if mode == "downweight":
        removed, downweighted = set(), removed
    pieces = _masked(tree, removed, mask_word) if mode == "mask" else _remaining(tree, removed)
    text, spans = _join(tree, pieces)
    found = phrases_of(tree, removed, text, spans, lexicon) if chunks == "phrases" else []
    found = found or sliding_chunks(text, max_chunks=len(text))
    weights = _weights(text, spans, downweighted, downweight)
    left_out = max(len(found) - max_chunks, 0)
    return StructuralCaption(text, tuple(found[:max_chunks]), weights, left_out)


# --- Text and offsets

_Piece = tuple[str, int, int]  # a text, and the first and last token that it replaces


def _remaining(tree: Tree, removed: set[int]) -> list[_Piece]:
    """One piece for each token that remains. "an orange hat" becomes "a hat"."""
    tokens = [t for t in tree.tokens if t.i not in removed and not t.is_space]
    pieces = [(t.text, t.i, t.i) for t in tokens]
    for place, (token, following) in enumerate(pairwise(tokens)):
        if token.lower_ in ("a", "an") and token.i + 1 in removed:
            pieces[place] = (_article(token.text, following.text), token.i, token.i)
    return pieces


def _article(article: str, word: str) -> str:
    """ "a" or "an", in the case of ``article``, as it stands before a word."""
    return article[0] + ("n" if _VOWEL_SOUND.match(word) else "")


def _masked(tree: Tree, removed: set[int], mask_word: str) -> list[_Piece]:
    """One piece for each token that remains, and one mask word for each run of removed tokens.

    Commas and conjunctions between removed words belong to their run: "red, white and blue" becomes
    one mask word.
    """
    pieces: list[_Piece] = []
    between: list[_Piece] = []  # "," and "and" since the last mask; a mask that follows joins them
    in_run = False
    for token in tree.tokens:
        if token.is_space:
            continue
        if token.i not in removed:
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


def _join(tree: Tree, pieces: Iterable[_Piece]) -> tuple[str, dict[int, tuple[int, int]]]:
    """The text of all pieces, and for each token the characters (start, end) of its piece."""
    parts: list[str] = []
    spans: dict[int, tuple[int, int]] = {}
    length, last = 0, -1
    for piece, start, end in pieces:
        if parts and _needs_space(tree.tokens, last, start):
            parts.append(" ")
            length += 1
        spans |= dict.fromkeys(range(start, end + 1), (length, length + len(piece)))
        parts.append(piece)
        length, last = length + len(piece), end
    return "".join(parts), spans


def _weights(
    text: str, spans: dict[int, tuple[int, int]], downweighted: set[int], downweight: float
) -> tuple[float, ...]:
    """The weight of each word of ``text.split()``.

    It is ``downweight`` where every letter and digit belongs to a downweighted token, and else 1.
    """
    letters = [character.isalnum() for character in text]
    low = [False] * len(text)
    for i in downweighted:
        start, end = spans[i]
        low[start:end] = letters[start:end]
    return tuple(
        downweight if any(low[a:b]) and low[a:b] == letters[a:b] else 1.0
        for a, b in (word.span() for word in _WORD.finditer(text))
    )


def _needs_space(tokens: list[Token], left: int, right: int) -> bool:
    """Whether a space belongs between two tokens that are neighbours after the removal."""
    if right == left + 1:
        return bool(tokens[left].whitespace_)
    if any(token.is_space for token in tokens[left + 1 : right]):
        return True
    has_punctuation = tokens[left].is_punct or tokens[right].is_punct
    return not has_punctuation or bool(tokens[left].whitespace_ and tokens[right - 1].whitespace_)
