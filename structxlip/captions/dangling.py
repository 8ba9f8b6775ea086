"""Remove the words that would dangle once the appearance words of a caption are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structxlip.captions.appearance import MODIFIER, governor_of, is_content, names_of
from structxlip.captions.lexicon import Lexicon

if TYPE_CHECKING:
    from spacy.tokens import Doc, Span, Token

SOFT_PUNCTUATION = frozenset(",;:-–")
_BRACKETS = {"(": ")", "[": "]", '"': '"', "“": "”", "'": "'"}
_COMPLEMENT = frozenset({"pobj", "pcomp", "dobj", "oprd", "attr", "acomp", "xcomp", "ccomp"})
PREPOSITION = frozenset({"prep", "agent", "dative"})
# Dependents on the left that mean nothing without the word that they stand before.
_BOUND_DEPENDENTS = frozenset({"det", "predet", "neg", "quantmod", "advmod"})
_AUXILIARIES = frozenset({"aux", "auxpass", "neg", "advmod"})
_COMPARING = frozenset({"than", "as", "to"})  # "redder *than* the apple", "isointense *to* fat"
_NEAR = 8  # tokens in which a noun is searched for behind its adjectives
_CLAUSE_ENDS = frozenset(".,;:!?…")
_LEADING = PREPOSITION | _AUXILIARIES | {"det"}  # another word must follow
_FUNCTION = frozenset({"DET", "ADP", "CCONJ", "SCONJ", "AUX", "PART"})


def with_dangling(doc: Doc, appearance: set[int], lexicon: Lexicon) -> set[int]:
    """Indices of all tokens to remove: appearance words, and the words that dangle without them.

    Args:
        doc: a caption parsed by spaCy.
        appearance: indices of the appearance words, from ``appearance_of``.
        lexicon: its ``carriers`` are the verbs that need a complement.
    """
    removed = set(appearance)
    for token in (doc[i] for i in sorted(appearance)):
        dangling = [child for child in token.lefts if _is_bound(child, token, removed)]
        dangling += [child for child in token.rights if child.lower_ in _COMPARING]
        if any(child.lower_ == "but" for child in token.rights):  # "is *not* red but round"
            dangling += [child for child in token.head.children if child.dep_ == "neg"]
        removed.update(t.i for child in dangling for t in child.subtree)
    # From right to left: a complement stands to the right of its word, so it is decided first.
    for token in reversed(doc):
        if token.i not in removed and _lost_complement(token, removed, lexicon):
            removed.add(token.i)
            removed.update(child.i for child in token.children if _goes_with_verb(child, token))
    for sentence in doc.sents:
        removed.update(token.i for token in sentence if _joins_nothing(token, removed))
        _remove_punctuation(doc, sentence, removed)
        _remove_stranded(doc, sentence, removed, lexicon)
        _remove_punctuation(doc, sentence, removed)
        if not any(is_content(token, lexicon) for token in sentence if token.i not in removed):
            removed.update(token.i for token in sentence)
    return removed


def _is_bound(child: Token, token: Token, removed: set[int]) -> bool:
    """Whether a left dependent means nothing without ``token``, which is removed."""
    governor = governor_of(token)
    if governor.dep_ not in MODIFIER and _stands_before_noun(token, removed):
        return False  # "*three* tan and white dogs", where the parser takes "tan" for the thing
    if governor.dep_ in MODIFIER:
        # Parsers may give the noun's article to its adjective: "*a* grey and white dog".
        has_article = any(c.dep_ == "det" and c.i not in removed for c in governor.head.lefts)
        return child.dep_ in _BOUND_DEPENDENTS and (child.dep_ != "det" or has_article)
    is_noun = token.pos_ in ("NOUN", "PROPN")
    return child.dep_ in _BOUND_DEPENDENTS or (is_noun and child.dep_ in MODIFIER | {"nummod"})


def _stands_before_noun(token: Token, removed: set[int]) -> bool:
    """Whether a removed word, with those removed around it, stands right before a noun."""
    for following in token.doc[token.i + 1 : token.i + 1 + _NEAR]:
        if following.i not in removed and following.pos_ != "CCONJ":
            return following.pos_ in ("NOUN", "PROPN")
    return False


def _lost_complement(token: Token, removed: set[int], lexicon: Lexicon) -> bool:
    """Whether a preposition or a carrier verb, such as a copula, has lost all of its complement."""
    # The word dangles if one of `dependents` is removed and none of `complement` remains.
    if token.pos_ == "ADP" and token.dep_ in PREPOSITION:
        dependents = complement = [
            c for c in token.rights if c.dep_ in _COMPLEMENT or c.pos_ == "ADJ"
        ]
    elif token.pos_ not in ("VERB", "AUX") or token.lemma_ not in lexicon.carriers:
        return False
    elif token.lemma_ == "be":  # "is brown in a field": "is" stays, because "in a field" remains
        dependents = [c for c in token.rights if c.dep_ not in ("cc", "conj", "punct")]
        complement = [t for c in dependents for t in c.subtree if _can_complete(t, lexicon)]
    else:  # "made of wood by hand": "made" goes, although "by hand" remains
        complement = [c for c in token.rights if c.dep_ in _COMPLEMENT]
        dependents = complement + [c for c in token.rights if c.dep_ in PREPOSITION]
    return any(c.i in removed for c in dependents) and not any(
        t.i not in removed for c in complement for t in (c, *c.conjuncts)
    )


def _can_complete(token: Token, lexicon: Lexicon) -> bool:
    """Whether a word can be all that remains behind a copula: "outside", but not "not"."""
    if token.pos_ == "ADV":
        return bool(names_of(token) & lexicon.keep)
    return token.dep_ != "neg" and token.pos_ not in ("PUNCT", "CCONJ", "SPACE")


def _goes_with_verb(child: Token, verb: Token) -> bool:
    """Whether a left dependent goes with a verb that is removed: "*which* *is not* red"."""
    if child.dep_ in ("nsubj", "nsubjpass"):
        return child.pos_ == "PRON" and verb.dep_ != "ROOT"
    is_left = child.i < verb.i
    return child.dep_ == "neg" or (
        is_left and (child.dep_ in _AUXILIARIES or (child.dep_ == "mark" and verb.dep_ != "ROOT"))
    )


def _joins_nothing(token: Token, removed: set[int]) -> bool:
    """Whether a conjunction no longer joins two words that remain."""
    if token.pos_ != "CCONJ" or token.dep_ != "cc":
        return False
    left = token.head
    right = next((c for c in left.children if c.dep_ == "conj" and c.i > token.i), None)
    if right is None:  # the parser found no conjunct
        return token.i + 1 in removed
    # Two clauses may lose a verb and still have their subjects: "the cat sits and the dog".
    joins_clauses = _has_subject(left, removed) and _has_subject(right, removed)
    return not joins_clauses and (left.i in removed or right.i in removed)


def _remove_stranded(doc: Doc, sentence: Span, removed: set[int], lexicon: Lexicon) -> None:
    """Add to ``removed`` the function words beside removed words that lead nowhere.

    The parse of an unusual sentence may hide from the other rules what a word belonged to.
    """
    for token in reversed(sentence):
        beside = {token.i - 1, token.i + 1} & removed
        if token.i in removed or not beside:
            continue
        left = _nearest(doc, sentence, token.i, -1, removed)
        right = _nearest(doc, sentence, token.i, 1, removed)
        lost_right = token.i + 1 in removed
        if right is None or right.text in _CLAUSE_ENDS:
            leads = token.dep_ in _LEADING or token.pos_ in ("AUX", "SCONJ", "CCONJ")
            stranded = leads and lost_right and token.pos_ not in ("ADV", "VERB")
        elif token.lower_ == "in" and right.dep_ in ("pobj", "pcomp") and right.pos_ == "VERB":
            # "a woman *in* yellow sitting", where the parser takes "yellow sitting" for a thing
            stranded = lost_right and bool(names_of(doc[token.i + 1]) & lexicon.colours)
        elif token.pos_ == "CCONJ":
            stranded = left is None or left.pos_ in _FUNCTION or right.pos_ == "CCONJ"
        else:
            stranded = token.dep_ == "det" and lost_right and right.pos_ in _FUNCTION
            stranded = stranded and token.head.i in removed
        if stranded:
            removed.add(token.i)


def _has_subject(token: Token, removed: set[int]) -> bool:
    return any(c.dep_ in ("nsubj", "nsubjpass") and c.i not in removed for c in token.children)


def _remove_punctuation(doc: Doc, sentence: Span, removed: set[int]) -> None:
    """Add to ``removed`` the soft punctuation and empty brackets beside removed words."""
    for token in sentence:
        if token.i in removed or not (token.is_punct or token.text in SOFT_PUNCTUATION):
            continue
        left = _nearest(doc, sentence, token.i, -1, removed)
        right = _nearest(doc, sentence, token.i, 1, removed)
        no_neighbour_removed = not {token.i - 1, token.i + 1} & removed
        if no_neighbour_removed:
            continue
        if right is not None and token.text in _BRACKETS:
            if right.text == _BRACKETS[token.text]:
                removed.update((token.i, right.i))
        elif token.text in SOFT_PUNCTUATION:
            if right is not None and right.text in SOFT_PUNCTUATION and left is not None:
                removed.update((token.i, right.i))  # both commas of an aside
            elif (
                left is None
                or right is None
                or right.is_punct
                or left.pos_ in ("DET", "ADP", "AUX")
                or _is_list_comma(token, removed)
            ):
                removed.add(token.i)


def _nearest(doc: Doc, sentence: Span, i: int, step: int, removed: set[int]) -> Token | None:
    """The nearest token of the sentence that remains, from ``i`` to the left (-1) or right (1)."""
    i += step
    while sentence.start <= i < sentence.end:
        if i not in removed and not doc[i].is_space:
            return doc[i]
        i += step
    return None


def _is_list_comma(comma: Token, removed: set[int]) -> bool:
    """Whether a comma stood between the adjectives of one noun: "a round*,* red ball"."""
    neighbours = [governor_of(comma.doc[i]) for i in (comma.i - 1, comma.i + 1) if i in removed]
    return any(
        word.dep_ in MODIFIER and word.head.left_edge.i < comma.i < word.head.i
        for word in neighbours
    )
