"""Which words of a parsed caption say how things look."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from structxlip.captions.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_JOINERS = frozenset("-–/")
_CONTENT = frozenset({"NOUN", "PROPN", "VERB", "NUM"})
_NOMINAL = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "dative"})
MODIFIER = frozenset({"amod", "compound", "nmod"})


def appearance_of(doc: Doc, lexicon: Lexicon, *, listed_only: bool) -> set[int]:
    """The tokens that say how things look; with ``listed_only`` those of ``lexicon.drop`` alone."""
    words = list(_words(doc))
    gone = {
        token.i for word in words if _is_appearance(word, lexicon, listed_only) for token in word
    }
    tints = lexicon.colours | lexicon.shades
    for word, following in reversed(list(pairwise(words))):
        is_tint = len(word) == 1 and names_of(word[0]) & tints
        if is_tint and following[-1].i in gone and names_of(following[-1]) & tints:
            gone.add(word[0].i)
    return gone


def _words(doc: Doc) -> Iterator[list[Token]]:
    """Tokens, with those of a hyphenated word in one list."""
    word: list[Token] = []
    for token in doc:
        joined = word and not word[-1].whitespace_ and not token.is_space
        if joined and (token.text in _JOINERS or word[-1].text in _JOINERS):
            word.append(token)
        else:
            if word:
                yield word
            word = [token]
    yield word


def _is_appearance(word: list[Token], lexicon: Lexicon, listed_only: bool) -> bool:
    parts = [token for token in word if token.text not in _JOINERS]
    if not parts or not any(part.is_alpha for part in parts):
        return False
    if len(parts) == 1:
        return _fades(parts[0], lexicon, listed_only)
    if "".join(token.lower_ for token in word) in lexicon.keep:
        return False
    head = [part for part in parts if part.head not in word or part.head is part] or parts
    governor = governor_of(head[-1])
    if head[-1].pos_ not in ("ADJ", "ADV") and governor.dep_ not in MODIFIER:
        return False
    if names_of(parts[-1]) & lexicon.drop:
        return True
    if any(names_of(part) & lexicon.keep or part.pos_ == "NUM" for part in parts):
        return False
    return any(names_of(part) & lexicon.drop for part in parts) or (
        not listed_only and all(part.pos_ in ("ADJ", "ADV") for part in parts)
    )


def _fades(token: Token, lexicon: Lexicon, listed_only: bool) -> bool:
    names = names_of(token)
    named = bool(names & lexicon.drop)
    governor = governor_of(token)
    if token.pos_ in ("ADJ", "ADV"):
        if names & lexicon.keep or token.dep_ in ("prt", "neg", "cc", "mark", "preconj"):
            return False
        if token.tag_ == "WRB" or token.head.dep_ == "cc":  # "where", "as well as"
            return False
        # An adjective in the place of a noun is one, unless it is a colour: "the blind", "in red".
        is_noun = governor.pos_ == "ADJ" and governor.dep_ in _NOMINAL
        return named or not (is_noun or listed_only)
    if not named or token.pos_ not in ("NOUN", "PROPN", "VERB"):
        return False
    if governor.dep_ in MODIFIER and governor.head.i > token.i:
        return True
    return token.pos_ != "VERB" and _is_bare_attribute(token, governor, lexicon)


def _is_bare_attribute(token: Token, governor: Token, lexicon: Lexicon) -> bool:
    """Whether a colour or material stands alone as a complement: "in blue", "made of wood"."""
    if token.tag_ in ("NNS", "NNPS") or any(
        child.dep_ in ("det", "poss") and child.lower_ != "all" for child in token.children
    ):
        return False
    head = governor.head
    if governor.dep_ == "pobj":
        carried = head.head.lemma_ in lexicon.carriers
        if head.lower_ == "in":
            colour = bool(names_of(token) & lexicon.colours)
            return colour or (carried and head.head.lemma_ != "be")
        return carried and head.lower_ in ("of", "from")
    if governor.dep_ in ("dobj", "oprd", "attr", "acomp"):
        there_is = any(child.dep_ == "expl" for child in head.children)
        return head.lemma_ in lexicon.carriers and not there_is
    return False


def names_of(token: Token) -> set[str]:
    """What a lexicon may list a token by: its form and its lemma, in lower case."""
    return {token.lower_, token.lemma_.lower()}


def governor_of(token: Token) -> Token:
    """The first of the conjuncts that a token belongs to: it carries their common role."""
    while token.dep_ == "conj":
        token = token.head
    return token


def is_content(token: Token, lexicon: Lexicon) -> bool:
    """Whether a token says what there is, or where, or how large."""
    if token.pos_ in ("ADJ", "ADV"):
        return bool(names_of(token) & lexicon.keep)
    return token.pos_ in _CONTENT and any(character.isalnum() for character in token.text)
