"""Noun phrases and prepositional phrases as chunks of a structural caption."""

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
    doc: Doc, removed: set[int], text: str, spans: dict[int, tuple[int, int]], lexicon: Lexicon
) -> list[Chunk]:
    """The noun phrases and prepositional phrases of a structural caption.

    Args:
        doc: the whole caption, parsed by spaCy.
        removed: indices of the tokens that the structural caption leaves out.
        text: the structural caption.
        spans: for the index of each token, its characters (start, end) in ``text``.
        lexicon: its ``keep`` lists the nouns of compound prepositions: "front" in "in front of".

    Returns:
        The phrases, sorted by their start and then by their end.
    """
    # The start of the noun phrase of each noun that remains, by the index of the noun.
    noun_starts = {
        span.root.i: span.start
        for span in doc.noun_chunks
        if span.root.pos_ in ("NOUN", "PROPN")
        and any(character.isalnum() for character in span.root.text)
        and span.root.i not in removed
    }
    chunks: set[Chunk] = set()
    inner_words: set[int] = set()  # of a compound preposition; they form no phrase of their own

    def add(start: int, end: int, kind: Literal["noun_phrase", "prepositional_phrase"]) -> None:
        words = [i for i in range(start, end + 1) if i in spans and not doc[i].is_punct]
        left, right = spans[words[0]][0], spans[words[-1]][1]
        # A token may hold punctuation: "St.", "o'clock.".
        left += len(text[left:right]) - len(text[left:right].lstrip(_EDGE_PUNCTUATION))
        chunks.add(Chunk(left, left + len(text[left:right].rstrip(_EDGE_PUNCTUATION)), kind))

    for token in doc:
        if token.i in removed or token.i in inner_words or token.dep_ not in PREPOSITION:
            continue
        *inner, last = _path_to_noun(token, noun_starts, lexicon)
        if last in noun_starts:
            inner_words.update(inner)
            # The phrase includes the noun that the preposition belongs to: "a dog on the sofa".
            add(min(noun_starts.get(token.head.i, token.i), token.i), last, "prepositional_phrase")
    for noun, start in noun_starts.items():
        if noun not in inner_words:
            add(start, noun, "noun_phrase")
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))


def _path_to_noun(preposition: Token, nouns: Container[int], lexicon: Lexicon) -> list[int]:
    """Indices of the tokens from a preposition to its noun.

    A compound preposition has more words in between: "in front of", "out of".
    """
    path = [preposition.i]
    for child in preposition.rights:
        if child.dep_ == "prep":
            return path + _path_to_noun(child, nouns, lexicon)
        if child.dep_ == "pobj" and child.i in nouns:
            of = [c for c in child.rights if c.lower_ == "of"]
            if of and not child.n_lefts and names_of(child) & lexicon.keep:
                return [*path, child.i, *_path_to_noun(of[0], nouns, lexicon)]
            return [*path, child.i]
    return path
