"""What goes with the words that go, for the rest of a caption to read well."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structxlip.captions.appearance import MODIFIER, governor_of, is_content
from structxlip.captions.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

SOFT_PUNCTUATION = frozenset(",;:-–")
_BRACKETS = {"(": ")", "[": "]", '"': '"', "“": "”", "'": "'"}
_COMPLEMENT = frozenset({"pobj", "pcomp", "dobj", "oprd", "attr", "acomp", "xcomp", "ccomp"})
PREPOSITION = frozenset({"prep", "agent", "dative"})
# Dependents that mean nothing without the word that they stand before.
_SATELLITES = frozenset({"det", "predet", "neg", "quantmod", "advmod"})
_AUXILIARIES = frozenset({"aux", "auxpass", "neg", "advmod"})


def with_dangling(doc: Doc, appearance: set[int], lexicon: Lexicon) -> set[int]:
    """The words of ``appearance``, and those that would dangle without them."""
    gone = set(appearance)
    for token in (doc[i] for i in sorted(appearance)):
        fallen = [child for child in token.lefts if _is_satellite(child, token, gone)]
        fallen += [child for child in token.rights if child.lower_ in ("than", "as")]
        if any(child.lower_ == "but" for child in token.rights):  # "is *not* red but round"
            fallen += [child for child in token.head.children if child.dep_ == "neg"]
        gone.update(t.i for child in fallen for t in child.subtree)
    for token in reversed(doc):  # complements stand on the right, so they are settled first
        if token.i not in gone and _is_hollow(token, gone, lexicon):
            gone.add(token.i)
            gone.update(child.i for child in token.lefts if _falls_with(child, token))
    for sentence in doc.sents:
        gone.update(token.i for token in sentence if _is_idle_conjunction(token, gone))
        _drop_punctuation(doc, sentence, gone)
        if not any(is_content(token, lexicon) for token in sentence if token.i not in gone):
            gone.update(token.i for token in sentence)
    return gone


def _is_satellite(child: Token, token: Token, gone: set[int]) -> bool:
    """Whether the left dependent of a gone word means nothing without it."""
    governor = governor_of(token)
    if governor.dep_ in MODIFIER:
        # Parsers may give the noun's article to its adjective: "*a* grey and white dog".
        has_article = any(c.dep_ == "det" and c.i not in gone for c in governor.head.lefts)
        return child.dep_ in _SATELLITES and (child.dep_ != "det" or has_article)
    is_noun = token.pos_ in ("NOUN", "PROPN")
    return child.dep_ in _SATELLITES or (is_noun and child.dep_ in MODIFIER | {"nummod"})


def _is_hollow(token: Token, gone: set[int], lexicon: Lexicon) -> bool:
    """Whether a preposition, copula or other carrier has lost all of its complement."""
    if token.pos_ == "ADP" and token.dep_ in PREPOSITION:
        lost = kept = [c for c in token.rights if c.dep_ in _COMPLEMENT or c.pos_ == "ADJ"]
    elif token.pos_ not in ("VERB", "AUX") or token.lemma_ not in lexicon.carriers:
        return False
    elif token.lemma_ == "be":  # "is brown in a field" still is in a field
        lost = [c for c in token.rights if c.dep_ not in ("cc", "conj", "punct")]
        kept = [t for c in lost for t in c.subtree if t.pos_ not in ("PUNCT", "CCONJ", "SPACE")]
    else:  # "made of wood by hand" is no longer made
        kept = [c for c in token.rights if c.dep_ in _COMPLEMENT]
        lost = kept + [c for c in token.rights if c.dep_ in PREPOSITION]
    return any(c.i in gone for c in lost) and not any(
        t.i not in gone for c in kept for t in (c, *c.conjuncts)
    )


def _falls_with(child: Token, verb: Token) -> bool:
    """Whether the left dependent of a hollow verb goes too: "*which* *is not* red"."""
    if child.dep_ in ("nsubj", "nsubjpass"):
        return child.pos_ == "PRON" and verb.dep_ != "ROOT"
    return child.dep_ in _AUXILIARIES or (child.dep_ == "mark" and verb.dep_ != "ROOT")


def _is_idle_conjunction(token: Token, gone: set[int]) -> bool:
    """Whether a conjunction no longer joins two things that stayed."""
    if token.pos_ != "CCONJ" or token.dep_ != "cc":
        return False
    left = token.head
    right = next((c for c in left.children if c.dep_ == "conj" and c.i > token.i), None)
    if right is None:  # the parser saw no conjunct
        return token.i + 1 in gone
    # Two clauses may lose a verb and still have their subjects: "the cat sits and the dog".
    clause = _has_subject(left, gone) and _has_subject(right, gone)
    return not clause and (left.i in gone or right.i in gone)


def _has_subject(token: Token, gone: set[int]) -> bool:
    return any(c.dep_ in ("nsubj", "nsubjpass") and c.i not in gone for c in token.children)


def _drop_punctuation(doc: Doc, sentence: Span, gone: set[int]) -> None:
    """Remove the soft punctuation and the empty brackets that the gone words leave behind."""
    for token in sentence:
        if token.i in gone or not (token.is_punct or token.text in SOFT_PUNCTUATION):
            continue
        left = _nearest(doc, sentence, token.i, -1, gone)
        right = _nearest(doc, sentence, token.i, 1, gone)
        untouched = not {token.i - 1, token.i + 1} & gone
        if untouched:
            continue
        if right is not None and token.text in _BRACKETS:
            if right.text == _BRACKETS[token.text]:
                gone.update((token.i, right.i))
        elif token.text in SOFT_PUNCTUATION:
            if right is not None and right.text in SOFT_PUNCTUATION and left is not None:
                gone.update((token.i, right.i))  # both commas of an aside
            elif (
                left is None
                or right is None
                or right.is_punct
                or left.pos_ in ("DET", "ADP", "AUX")
                or _is_list_comma(token, gone)
            ):
                gone.add(token.i)


def _nearest(doc: Doc, sentence: Span, i: int, step: int, gone: set[int]) -> Token | None:
    """The first token that stayed, from ``i`` on by ``step``, inside the sentence."""
    i += step
    while sentence.start <= i < sentence.end:
        if i not in gone and not doc[i].is_space:
            return doc[i]
        i += step
    return None


def _is_list_comma(comma: Token, gone: set[int]) -> bool:
    """Whether a comma stood between the adjectives of one noun: "a round*,* red ball"."""
    neighbours = [governor_of(comma.doc[i]) for i in (comma.i - 1, comma.i + 1) if i in gone]
    return any(
        word.dep_ in MODIFIER and word.head.left_edge.i < comma.i < word.head.i
        for word in neighbours
    )
