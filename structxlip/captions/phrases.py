"""Noun phrases and prepositional phrases as chunks of a structural caption."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Literal

from structxlip.captions.appearance import MODIFIER, WORD_JOINERS, names_of, words_of
from structxlip.captions.chunks import Chunk
from structxlip.captions.dangling import PREPOSITION
from structxlip.captions.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_IN_PHRASE = MODIFIER | {"det", "nummod", "poss", "predet", "quantmod", "case", "advmod"}
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
    noun_starts = _noun_starts(doc, removed)
    word_ends = _word_ends(doc)
    chunks: set[Chunk] = set()
    inner_words: set[int] = set()  # of a compound preposition; they form no phrase of their own

    def add(start: int, end: int, kind: Literal["noun_phrase", "prepositional_phrase"]) -> None:
        start, end = word_ends[start][0], word_ends[end][1]  # "tree-in-bud" is one word
        words = [i for i in range(start, end + 1) if i in spans and not doc[i].is_punct]
        left, right = spans[words[0]][0], spans[words[-1]][1]
        # A token may hold punctuation: "St.", "o'clock.".
        left += len(text[left:right]) - len(text[left:right].lstrip(_EDGE_PUNCTUATION))
        chunks.add(Chunk(left, left + len(text[left:right].rstrip(_EDGE_PUNCTUATION)), kind))

    for token in doc:
        is_preposition = token.dep_ in PREPOSITION or (token.pos_ == "ADP" and token.dep_ != "prt")
        is_part_of_word = word_ends[token.i] != (token.i, token.i)
        if token.i in removed | inner_words or not is_preposition or is_part_of_word:
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


def _noun_starts(doc: Doc, removed: set[int]) -> dict[int, int]:
    """The start of the noun phrase of each noun that remains, by the index of the noun.

    Phrases that spaCy does not find, such as those of clauses that it hangs on each other, are the
    noun and the words right before it that describe it.
    """
    starts = {span.root.i: span.start for span in doc.noun_chunks if _is_noun(span.root, removed)}
    held = {i for noun, start in starts.items() for i in range(start, noun + 1)}
    for noun in reversed(doc):
        if noun.i in held or not _is_noun(noun, removed):
            continue
        start = noun.i
        while start and start - 1 not in held and _describes(doc[start - 1], start, noun.i):
            start -= 1
        starts[noun.i] = start
        held.update(range(start, noun.i + 1))
    return starts


def _is_noun(token: Token, removed: set[int]) -> bool:
    """Whether a token is a noun that remains, and no sign."""
    is_word = any(character.isalnum() for character in token.text)
    return token.pos_ in ("NOUN", "PROPN") and is_word and token.i not in removed


def _describes(token: Token, start: int, noun: int) -> bool:
    """Whether a token belongs to the phrase from ``start`` to ``noun``, right before it."""
    is_joined = not token.whitespace_ and (
        token.text in WORD_JOINERS or token.doc[start].text in WORD_JOINERS
    )
    return is_joined or (token.dep_ in _IN_PHRASE and start <= token.head.i <= noun)


def _word_ends(doc: Doc) -> list[tuple[int, int]]:
    """The first and the last token of the word of each token. A hyphenated word has several."""
    return [(word[0].i, word[-1].i) for word in words_of(doc) for _ in word]


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
            is_bare = all(left.lower_ == "the" for left in child.lefts)
            if of and is_bare and names_of(child) & lexicon.keep:
                return [*path, child.i, *_path_to_noun(of[0], nouns, lexicon)]
            return [*path, child.i]
    return path
