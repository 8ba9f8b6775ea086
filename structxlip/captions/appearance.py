"""Find the words of a parsed caption that describe appearance: colour, material, texture, style."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from structxlip.captions.lexicon import Lexicon
from structxlip.captions.tree import Tree

if TYPE_CHECKING:
    from spacy.tokens import Token

WORD_JOINERS = frozenset("-–/")
_JOINTS = frozenset({"and", "or", "&", ","})  # between the colours of a row
_CONTENT = frozenset({"NOUN", "PROPN", "VERB", "NUM"})
_NOUN_ROLES = frozenset({"nsubj", "nsubjpass", "dobj", "pobj", "dative"})
MODIFIER = frozenset({"amod", "compound", "nmod"})


def appearance_of(tree: Tree, lexicon: Lexicon, *, listed_only: bool) -> set[int]:
    """Indices of the tokens of a parsed caption that describe appearance.

    Args:
        tree: the parse.
        lexicon: the words to keep and to drop.
        listed_only: find only words of ``lexicon.drop``. Otherwise also every adjective and adverb
            that is not in ``lexicon.keep``, unless ``lexicon.keeps_unlisted``.
    """
    words = list(words_of(tree))
    listed_only = listed_only or lexicon.keeps_unlisted
    appearance = {
        token.i
        for word in words
        if _is_appearance(tree, word, lexicon, listed_only)
        for token in word
    }
    colour_words = lexicon.colours | lexicon.shades
    # Of colours in a row the parser may take one for the thing: "three *tan* and white dogs".
    triples = list(zip(words, words[1:], words[2:], strict=False))
    for first, joint, second in (*triples, *reversed(triples)):
        ends = [word[0] for word in (first, second) if len(word) == 1]
        is_row = joint[0].lower_ in _JOINTS and len(ends) == 2
        if is_row and all(names_of(token) & lexicon.colours for token in ends):
            places = {token.i for token in ends}
            appearance |= places if places & appearance else set()
    appearance |= _shares_of_material(tree, lexicon)
    # A shade goes together with its colour: "deep red". From right to left, so that a row of
    # shades goes as a whole.
    for word, following in reversed(list(pairwise(words))):
        is_colour = len(word) == 1 and names_of(word[0]) & colour_words
        if is_colour and following[-1].i in appearance and names_of(following[-1]) & colour_words:
            appearance.add(word[0].i)
    # A listed word that stands beside one that goes, goes too, whatever it is taken for.
    for token in tree.tokens:
        if token.dep_ == "conj" and token.head.i in appearance and names_of(token) & lexicon.drop:
            appearance.add(token.i)
    # "long haired" goes as a whole, also where both describe the same noun.
    for word, following in pairwise(words):
        is_bound = following[0].i in appearance and names_of(following[-1]) & lexicon.bound
        if is_bound and word[-1].pos_ in ("ADJ", "ADV", "NOUN", "PROPN"):
            appearance.update(token.i for token in word)
    return appearance - _in_terms(tree, lexicon)


def _shares_of_material(tree: Tree, lexicon: Lexicon) -> set[int]:
    """Indices of the tokens of "80% cotton" and "5% combed wool", whatever their parse."""
    found: set[int] = set()
    for percent in tree.tokens[1:]:
        if percent.text == "%" and tree.tokens[percent.i - 1].like_num:
            for token in tree.tokens[percent.i + 1 : percent.i + 3]:
                if token.is_alpha and names_of(token) & lexicon.drop:
                    found.update(range(percent.i - 1, token.i + 1))
    return found


def _in_terms(tree: Tree, lexicon: Lexicon) -> set[int]:
    """Indices of the tokens of all terms of the lexicon, such as "gray matter"."""
    longest = max(map(len, lexicon.terms), default=0)
    openings = {term[0] for term in lexicon.terms}
    found: set[int] = set()
    for words in ([t.lower_ for t in tree.tokens], [t.lemma_.lower() for t in tree.tokens]):
        for first, word in enumerate(words):
            if word in openings:
                for last in range(first + 1, min(first + longest, len(words)) + 1):
                    if tuple(words[first:last]) in lexicon.terms:
                        found.update(range(first, last))
    return found


def words_of(tree: Tree) -> Iterator[list[Token]]:
    """Each word as the list of its tokens. A hyphenated word has several tokens."""
    word: list[Token] = []
    for token in tree.tokens:
        is_adjacent = word and not word[-1].whitespace_ and not token.is_space
        if is_adjacent and (token.text in WORD_JOINERS or word[-1].text in WORD_JOINERS):
            word.append(token)
        else:
            if word:
                yield word
            word = [token]
    yield word


def _is_appearance(tree: Tree, word: list[Token], lexicon: Lexicon, listed_only: bool) -> bool:
    """Whether a word, which may be hyphenated, describes appearance."""
    parts = [token for token in word if token.text not in WORD_JOINERS]
    if not parts or not any(part.is_alpha for part in parts):
        return False
    if len(parts) == 1:
        return _is_appearance_token(tree, parts[0], lexicon, listed_only)
    if "".join(token.lower_ for token in word) in lexicon.keep:
        return False
    inside = range(word[0].i, word[-1].i + 1)
    head_parts = [p for p in parts if p.head.i not in inside or p.head.i == p.i] or parts
    governor = tree.governor(head_parts[-1])
    if head_parts[-1].pos_ not in ("ADJ", "ADV") and governor.dep_ not in MODIFIER:
        return False
    if names_of(parts[-1]) & lexicon.drop:
        return True
    if any(names_of(part) & lexicon.keep or part.pos_ == "NUM" for part in parts):
        return False
    return any(names_of(part) & lexicon.drop for part in parts) or (
        not listed_only and all(part.pos_ in ("ADJ", "ADV") for part in parts)
    )


def _is_appearance_token(tree: Tree, token: Token, lexicon: Lexicon, listed_only: bool) -> bool:
    """Whether a word of a single token describes appearance."""
    names = names_of(token)
    is_listed = bool(names & lexicon.drop)
    governor = tree.governor(token)
    if token.pos_ in ("ADJ", "ADV"):
        if names & lexicon.keep or token.dep_ in ("prt", "neg", "cc", "mark", "preconj"):
            return False
        if token.tag_ == "WRB" or token.head.dep_ == "cc":  # "where", "as well as"
            return False
        # "is ready to jump", "will be unable to see"
        if not is_listed and any(child.dep_ == "xcomp" for child in tree.rights(token)):
            return False
        # An adjective in the role of a noun counts as a noun, unless it is a colour: "the blind"
        # stays, "in red" goes.
        is_noun = governor.pos_ == "ADJ" and governor.dep_ in _NOUN_ROLES
        return is_listed or not (is_noun or listed_only)
    if not is_listed or token.pos_ not in ("NOUN", "PROPN", "VERB"):
        return False
    if (governor.dep_ in MODIFIER and governor.head.i > token.i) or _precedes_noun(token, lexicon):
        return True
    return token.pos_ != "VERB" and _is_bare_attribute(tree, token, governor, lexicon)


def _precedes_noun(token: Token, lexicon: Lexicon) -> bool:
    """Whether a listed word stands right before a noun, whatever the parser hangs it on."""
    if token.tag_ not in ("NN", "NNP", "VBN") or token.i + 1 == len(token.doc):
        return False
    following = token.nbor()
    if following.is_sent_start or not token.whitespace_:
        return False
    is_colour = names_of(token) & lexicon.colours
    return following.pos_ in ("NOUN", "PROPN") or (
        bool(is_colour) and (following.pos_ == "ADJ" or following.tag_ in ("VBN", "VBD"))
    )


def _is_bare_attribute(tree: Tree, token: Token, governor: Token, lexicon: Lexicon) -> bool:
    """Whether a colour or material stands alone as a complement: "in blue", "made of wood"."""
    if token.tag_ in ("NNS", "NNPS") or any(
        child.dep_ in ("det", "poss") and child.lower_ != "all" for child in tree.children(token)
    ):
        return False
    head = governor.head
    if governor.dep_ == "pobj":
        after_carrier = head.head.lemma_ in lexicon.carriers
        if head.lower_ == "in":
            is_colour = bool(names_of(token) & lexicon.colours)
            return is_colour or (after_carrier and head.head.lemma_ != "be")
        return after_carrier and head.lower_ in ("of", "from")
    if governor.dep_ in ("dobj", "oprd", "attr", "acomp"):
        has_expletive = any(
            child.dep_ == "expl" for child in tree.children(head)
        )  # "there is glass"
        return head.lemma_ in lexicon.carriers and not has_expletive
    return False


def names_of(token: Token) -> set[str]:
    """The forms under which a lexicon may list a token: the token and its lemma, in lower case."""
    return {token.lower_, token.lemma_.lower()}


def is_content(token: Token, lexicon: Lexicon) -> bool:
    """Whether a token carries structure: a thing, an action, a number, a place, shape or size.

    Nouns, verbs and numbers do. Adjectives and adverbs do if the lexicon keeps them.
    """
    if token.pos_ in ("ADJ", "ADV"):
        is_unlisted = not names_of(token) & (lexicon.keep | lexicon.drop)
        return bool(names_of(token) & lexicon.keep) or (lexicon.keeps_unlisted and is_unlisted)
    return token.pos_ in _CONTENT and any(character.isalnum() for character in token.text)
