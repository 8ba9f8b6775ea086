"""Noun and prepositional phrases as chunks of a structural caption."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Literal

from structxlip.captions.appearance import names_of
from structxlip.captions.chunks import Chunk
from structxlip.captions.dangling import PREPOSITION
from structxlip.captions.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_EDGE_PUNCTUATION = " .,;:!?\"'"


def phrases_of(
    doc: Doc, gone: set[int], text: str, spans: dict[int, tuple[int, int]], lexicon: Lexicon
) -> list[Chunk]:
    """Noun phrases and prepositional phrases of the structural text, by start and then end."""
    nouns = {
        span.root.i: span.start
        for span in doc.noun_chunks
        if span.root.pos_ in ("NOUN", "PROPN")
        and any(character.isalnum() for character in span.root.text)
        and span.root.i not in gone
    }
    chunks: set[Chunk] = set()
    parts: set[int] = set()  # words inside a preposition, which head no phrase of their own

    def add(start: int, end: int, kind: Literal["noun_phrase", "prepositional_phrase"]) -> None:
        words = [i for i in range(start, end + 1) if i in spans and not doc[i].is_punct]
        left, right = spans[words[0]][0], spans[words[-1]][1]
        # A token may hold punctuation: "St.", "o'clock.".
        left += len(text[left:right]) - len(text[left:right].lstrip(_EDGE_PUNCTUATION))
        chunks.add(Chunk(left, left + len(text[left:right].rstrip(_EDGE_PUNCTUATION)), kind))

    for token in doc:
        if token.i in gone or token.i in parts or token.dep_ not in PREPOSITION:
            continue
        *inside, last = _path_to_object(token, nouns, lexicon)
        if last in nouns:
            parts.update(inside)
            add(min(nouns.get(token.head.i, token.i), token.i), last, "prepositional_phrase")
    for noun, start in nouns.items():
        if noun not in parts:
            add(start, noun, "noun_phrase")
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))


def _path_to_object(preposition: Token, nouns: Container[int], lexicon: Lexicon) -> list[int]:
    """From a preposition to its noun, over its other words: "in front of", "out of"."""
    path = [preposition.i]
    for child in preposition.rights:
        if child.dep_ == "prep":
            return path + _path_to_object(child, nouns, lexicon)
        if child.dep_ == "pobj" and child.i in nouns:
            of = [c for c in child.rights if c.lower_ == "of"]
            if of and not child.n_lefts and names_of(child) & lexicon.keep:
                return [*path, child.i, *_path_to_object(of[0], nouns, lexicon)]
            return [*path, child.i]
    return path
