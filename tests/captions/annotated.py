"""Captions whose parse is written by hand, so that a test does not depend on a parser."""

from __future__ import annotations

import spacy
from spacy.tokens import Doc

from structxlip.captions.lexicon import Lexicon

LEXICON = Lexicon(
    keep=frozenset({"outside", "round"}),
    places=frozenset({"outside"}),
    drop=frozenset({"red", "wooden", "denim"}),
    colours=frozenset({"red"}),
    shades=frozenset(),
    bound=frozenset(),
    carriers=frozenset({"be", "made"}),
    terms=frozenset(),
    keeps_unlisted=False,
)
VOCAB = spacy.blank("en").vocab


def annotated(*tokens: str) -> Doc:
    """A parse of one sentence: each token as ``word/TAG/POS/dep/head``.

    ``head`` is the place of the head, counted from 0. The lemma is the word in lower case. A word
    that begins with ``+`` stands right at the one before it.
    """
    fields = [token.split("/") for token in tokens]
    words = [word.removeprefix("+") for word, *_ in fields]
    glued = [word.startswith("+") for word, *_ in fields]
    return Doc(
        VOCAB,
        words=words,
        spaces=[not after for after in [*glued[1:], True]],
        tags=[field[1] for field in fields],
        pos=[field[2] for field in fields],
        deps=[field[3] for field in fields],
        heads=[int(field[4]) for field in fields],
        lemmas=[word.lower() for word in words],
    )
