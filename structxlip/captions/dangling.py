"""Remove the words that would dangle once the appearance words of a caption are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structxlip.captions.appearance import MODIFIER, is_content, names_of
from structxlip.captions.lexicon import Lexicon
from structxlip.captions.tree import Tree

if TYPE_CHECKING:
    from spacy.tokens import Token

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


def with_dangling(tree: Tree, appearance: set[int], lexicon: Lexicon) -> set[int]:
    """Indices of all tokens to remove: appearance words, and the words that dangle without them.

    Args:
        tree: a caption parsed by spaCy.
        appearance: indices of the appearance words, from ``appearance_of``.
        lexicon: its ``carriers`` are the verbs that need a complement.
    """
    removed = set(appearance)
    cut: set[int] = set()  # removed with all that is below
    for token in (tree.tokens[i] for i in sorted(appearance)):
        rights = tree.rights(token)
        dangling = [child for child in tree.lefts(token) if _is_bound(tree, child, token, removed)]
        dangling += [child for child in rights if child.lower_ in _COMPARING]
        if any(child.lower_ == "but" for child in rights):  # "is *not* red but round"
            dangling += [child for child in tree.children(token.head) if child.dep_ == "neg"]
        for child in dangling:
            removed.update(t.i for t in tree.subtree(child, without=cut))
            cut.add(child.i)
    # From right to left: a complement stands to the right of its word, so it is decided first.
    for token in reversed(tree.tokens):
        if token.i not in removed and _lost_complement(tree, token, removed, lexicon):
            removed.add(token.i)
            removed.update(c.i for c in tree.children(token) if _goes_with_verb(c, token))
    for span in tree.doc.sents:
        sentence = tree.tokens[span.start : span.end]
        removed.update(token.i for token in sentence if _joins_nothing(tree, token, removed))
        _remove_punctuation(tree, sentence, removed)
        _remove_stranded(sentence, removed, lexicon)
        _remove_punctuation(tree, sentence, removed)
        if not any(is_content(token, lexicon) for token in sentence if token.i not in removed):
            removed.update(token.i for token in sentence)
    return removed


def _is_bound(tree: Tree, child: Token, token: Token, removed: set[int]) -> bool:
    """Whether a left dependent means nothing without ``token``, which is removed."""
    governor = tree.governor(token)
    if governor.dep_ not in MODIFIER and _stands_before_noun(token, removed):
        return False  # "*three* tan and white dogs", where the parser takes "tan" for the thing
    if governor.dep_ in MODIFIER:
        # Parsers may give the noun's article to its adjective: "*a* grey and white dog".
        lefts = tree.lefts(governor.head)
        has_article = any(c.dep_ == "det" and c.i not in removed for c in lefts)
        return child.dep_ in _BOUND_DEPENDENTS and (child.dep_ != "det" or has_article)
    is_noun = token.pos_ in ("NOUN", "PROPN")
    return child.dep_ in _BOUND_DEPENDENTS or (is_noun and child.dep_ in MODIFIER | {"nummod"})


def _stands_before_noun(token: Token, removed: set[int]) -> bool:
    """Whether a removed word, with those removed around it, stands right before a noun."""
    for following in token.doc[token.i + 1 : token.i + 1 + _NEAR]:
        if following.i not in removed and following.pos_ != "CCONJ":
            return following.pos_ in ("NOUN", "PROPN")
    return False


def _lost_complement(tree: Tree, token: Token, removed: set[int], lexicon: Lexicon) -> bool:
    """Whether a preposition or a carrier verb, such as a copula, has lost all of its complement."""
    # The word dangles if one of `dependents` is removed and none of `complement` remains.
    is_preposition = token.pos_ == "ADP" and token.dep_ in PREPOSITION
    is_carrier = token.pos_ in ("VERB", "AUX") and token.lemma_ in lexicon.carriers
    if not is_preposition and not is_carrier:
        return False
    rights = tree.rights(token)
    if token.lemma_ == "be":  # "is brown in a field": "is" stays, because "in a field" remains
        dependents = [c for c in rights if c.dep_ not in ("cc", "conj", "punct")]
        complement = (t for c in dependents for t in tree.subtree(c) if _can_complete(t, lexicon))
    else:  # "made of wood by hand": "made" goes, although "by hand" remains
        found = [c for c in rights if c.dep_ in _COMPLEMENT or (is_preposition and c.pos_ == "ADJ")]
        dependents = found + [c for c in rights if is_carrier and c.dep_ in PREPOSITION]
        complement = (t for c in found for t in tree.conjuncts(c))
    return any(c.i in removed for c in dependents) and all(t.i in removed for t in complement)


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


def _joins_nothing(tree: Tree, token: Token, removed: set[int]) -> bool:
    """Whether a conjunction no longer joins two words that remain."""
    if token.pos_ != "CCONJ" or token.dep_ != "cc":
        return False
    left = token.head
    right = next((c for c in tree.children(left) if c.dep_ == "conj" and c.i > token.i), None)
    if right is None:  # the parser found no conjunct
        return token.i + 1 in removed
    # Two clauses may lose a verb and still have their subjects: "the cat sits and the dog".
    joins_clauses = _has_subject(tree, left, removed) and _has_subject(tree, right, removed)
    lost_right = right.i in removed and not _stands_before_noun(right, removed)
    return not joins_clauses and (left.i in removed or lost_right)


def _has_subject(tree: Tree, token: Token, removed: set[int]) -> bool:
    children = tree.children(token)
    return any(c.dep_ in ("nsubj", "nsubjpass") and c.i not in removed for c in children)


def _remove_punctuation(tree: Tree, sentence: list[Token], removed: set[int]) -> None:
    """Add to ``removed`` the soft punctuation and empty brackets beside removed words."""
    left: Token | None = None  # the nearest token that remains
    for token in sentence:
        if token.i in removed or token.is_space:
            continue
        if (token.is_punct or token.text in SOFT_PUNCTUATION) and _is_beside(token, removed):
            removed.update(_lost_punctuation(tree, sentence, token, left, removed))
        if token.i not in removed:
            left = token


def _lost_punctuation(
    tree: Tree, sentence: list[Token], token: Token, left: Token | None, removed: set[int]
) -> set[int]:
    """The sign to remove beside removed words, alone or with its partner; else none.

    ``left`` is the nearest token before it that remains.
    """
    right = _nearest(sentence, token.i, 1, removed)
    if right is not None and right.text == _BRACKETS.get(token.text):
        return {token.i, right.i}
    if token.text not in SOFT_PUNCTUATION:
        return set()
    if left is None or right is None:
        return {token.i}
    if right.text in SOFT_PUNCTUATION:  # both commas of an aside
        return {token.i, right.i}
    leads = right.is_punct or left.pos_ in ("DET", "ADP", "AUX")
    return {token.i} if leads or _is_list_comma(tree, token, removed) else set()


def _remove_stranded(sentence: list[Token], removed: set[int], lexicon: Lexicon) -> None:
    """Add to ``removed`` the function words beside removed words that lead nowhere.

    The parse of an unusual sentence may hide from the other rules what a word belonged to.
    """
    right: Token | None = None  # the nearest token that remains
    for token in reversed(sentence):
        if token.i in removed or token.is_space:
            continue
        if _is_beside(token, removed) and _is_stranded(sentence, token, right, removed, lexicon):
            removed.add(token.i)
        else:
            right = token


def _is_stranded(
    sentence: list[Token], token: Token, right: Token | None, removed: set[int], lexicon: Lexicon
) -> bool:
    """Whether a word leads nowhere; ``right`` is the nearest one after it that remains."""
    lost_right = token.i + 1 in removed
    if right is None or right.text in _CLAUSE_ENDS:
        leads = token.dep_ in _LEADING or token.pos_ in ("AUX", "SCONJ", "CCONJ")
        return lost_right and leads and token.pos_ not in ("ADV", "VERB")
    if token.lower_ == "in" and right.dep_ in ("pobj", "pcomp") and right.pos_ == "VERB":
        # "a woman *in* yellow sitting", where the parser takes "yellow sitting" for a thing
        return lost_right and bool(names_of(token.nbor()) & lexicon.colours)
    if token.pos_ == "CCONJ":
        left = _nearest(sentence, token.i, -1, removed)
        return left is None or left.pos_ in _FUNCTION or right.pos_ == "CCONJ"
    is_lost_article = token.dep_ == "det" and token.head.i in removed
    return lost_right and is_lost_article and right.pos_ in _FUNCTION


def _is_beside(token: Token, removed: set[int]) -> bool:
    """Whether a neighbour of a token is removed."""
    return token.i - 1 in removed or token.i + 1 in removed


def _nearest(sentence: list[Token], i: int, step: int, removed: set[int]) -> Token | None:
    """The nearest token of the sentence that remains, from ``i`` to the left (-1) or right (1)."""
    start = sentence[0].i
    i += step - start
    while 0 <= i < len(sentence):
        if start + i not in removed and not sentence[i].is_space:
            return sentence[i]
        i += step
    return None


def _is_list_comma(tree: Tree, comma: Token, removed: set[int]) -> bool:
    """Whether a comma stood between the adjectives of one noun: "a round*,* red ball"."""
    beside = [tree.governor(comma.doc[i]) for i in (comma.i - 1, comma.i + 1) if i in removed]
    return any(
        word.dep_ in MODIFIER and word.head.left_edge.i < comma.i < word.head.i for word in beside
    )
