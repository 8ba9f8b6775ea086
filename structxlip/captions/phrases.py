"""Noun phrases and prepositional phrases as chunks of a structural caption."""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Literal

from structxlip.captions.appearance import MODIFIER, WORD_JOINERS, names_of, words_of
from structxlip.captions.chunks import Chunk
from structxlip.captions.dangling import PREPOSITION
from structxlip.captions.lexicon import Lexicon
from structxlip.captions.tree import Tree

if TYPE_CHECKING:
    from spacy.tokens import Token

_IN_PHRASE = MODIFIER | {"det", "nummod", "poss", "predet", "quantmod", "case", "advmod"}
_NOUN_ROLES = frozenset(
    {"nsubj", "nsubjpass", "dobj", "pobj", "pcomp", "dative", "appos", "attr", "ROOT"}
)
_EDGE_PUNCTUATION = " .,;:!?\"'"


def phrases_of(
    tree: Tree, removed: set[int], text: str, spans: dict[int, tuple[int, int]], lexicon: Lexicon
) -> list[Chunk]:
    """The noun phrases and prepositional phrases of a structural caption.

    Args:
        tree: the whole caption, parsed by spaCy.
        removed: indices of the tokens that the structural caption leaves out.
        text: the structural caption.
        spans: for the index of each token, its characters (start, end) in ``text``.
        lexicon: its ``places`` are the nouns of compound prepositions: "front" in "in front of".

    Returns:
        The phrases, sorted by their start and then by their end.
    """
    noun_starts = _noun_starts(tree, removed)
    word_ends = _word_ends(tree)
    chunks: set[Chunk] = set()
    inner_words: set[int] = set()  # of a compound preposition; they form no phrase of their own

    def add(start: int, end: int, kind: Literal["noun_phrase", "prepositional_phrase"]) -> None:
        start, end = word_ends[start][0], word_ends[end][1]  # "tree-in-bud" is one word
        while not is_word(start):
            start += 1
        while not is_word(end):
            end -= 1
        left, right = spans[start][0], spans[end][1]
        # A token may hold punctuation: "St.", "o'clock.".
        while text[left] in _EDGE_PUNCTUATION:
            left += 1
        while text[right - 1] in _EDGE_PUNCTUATION:
            right -= 1
        chunks.add(Chunk(left, right, kind))

    def is_word(i: int) -> bool:
        return i in spans and not tree.tokens[i].is_punct

    for token in tree.tokens:
        is_preposition = token.dep_ in PREPOSITION or (token.pos_ == "ADP" and token.dep_ != "prt")
        is_part_of_word = word_ends[token.i] != (token.i, token.i)
        is_free = token.i not in removed and token.i not in inner_words
        if not is_preposition or is_part_of_word or not is_free:
            continue
        *inner, last = _path_to_noun(tree, token, noun_starts, lexicon)
        if last in noun_starts:
            inner_words.update(inner)
            # The phrase includes the noun that the preposition belongs to: "a dog on the sofa".
            add(min(noun_starts.get(token.head.i, token.i), token.i), last, "prepositional_phrase")
    for noun, start in noun_starts.items():
        if noun not in inner_words:
            add(start, noun, "noun_phrase")
    return sorted(chunks, key=lambda chunk: (chunk.start, chunk.end))


def _noun_starts(tree: Tree, removed: set[int]) -> dict[int, int]:
    """The start of the noun phrase of each noun that remains, by the index of the noun.

    Most are spaCy's noun chunks, found in linear time: a noun in one of the roles of a noun, with
    all that depends on it before it. A noun that is in none, such as one of a clause that hangs on
    another clause, has the words right before it that describe it.
    """
    starts: dict[int, int] = {}
    end = -1  # of the last chunk
    for token in tree.tokens:
        has_role = tree.governor(token).dep_ in _NOUN_ROLES
        if token.pos_ in ("NOUN", "PROPN", "PRON") and has_role and token.left_edge.i > end:
            end = token.i
            starts[end] = token.left_edge.i
    held = {i for noun, start in starts.items() for i in range(start, noun + 1)}
    for noun in reversed(tree.tokens):
        if noun.i not in held and _is_noun(noun, removed):
            start = noun.i
            while (
                start
                and start - 1 not in held
                and _describes(tree.tokens[start - 1], start, noun.i)
            ):
                start -= 1
            starts[noun.i] = start
            held.update(range(start, noun.i + 1))
    return {i: start for i, start in starts.items() if _is_noun(tree.tokens[i], removed)}


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


def _word_ends(tree: Tree) -> list[tuple[int, int]]:
    """The first and the last token of the word of each token. A hyphenated word has several."""
    return [(word[0].i, word[-1].i) for word in words_of(tree) for _ in word]


def _path_to_noun(
    tree: Tree, preposition: Token, nouns: Container[int], lexicon: Lexicon
) -> list[int]:
    """Indices of the tokens from a preposition to its noun.

    A compound preposition has more words in between: "in front of", "out of".
    """

    def leads_on(child: Token) -> bool:
        return child.dep_ == "prep" or (child.dep_ == "pobj" and child.i in nouns)

    path, following = [preposition.i], tree.rights(preposition)
    while child := next(filter(leads_on, following), None):
        path.append(child.i)
        following = tree.rights(child)
        if child.dep_ != "prep":
            is_bare = all(left.lower_ == "the" for left in tree.lefts(child))
            following = [c for c in following if c.lower_ == "of"]
            if not is_bare or not names_of(child) & lexicon.places:
                break
    return path
