"""The rules about dangling words on parses that are written by hand."""

from __future__ import annotations

import pytest
from spacy.tokens import Doc

from structxlip.captions import dangling
from structxlip.captions.tree import Tree
from tests.captions.annotated import LEXICON, annotated

# --- What is bound to a removed word


def bound(doc: Doc, child: int, token: int, *removed: int) -> bool:
    return dangling._is_bound(Tree(doc), doc[child], doc[token], {token, *removed})


@pytest.mark.parametrize(
    ("dep", "with_article", "without"),
    [
        ("det", True, False),
        ("predet", True, True),
        ("neg", True, True),
        ("quantmod", True, True),
        ("advmod", True, True),
        ("amod", False, False),
        ("prep", False, False),
    ],
)
def test_dependents_of_an_adjective(dep: str, with_article: bool, without: bool) -> None:
    """An article that the parser gives to the adjective is the noun's, if that has no other."""
    doc = annotated(
        "the/DT/DET/det/3", f"x/XX/X/{dep}/2", "red/JJ/ADJ/amod/3", "ball/NN/NOUN/ROOT/3"
    )
    assert bound(doc, 1, 2) == with_article
    assert bound(doc, 1, 2, 0) == without  # the noun's own article is removed
    other = annotated("x/XX/X/" + dep + "/1", "red/JJ/ADJ/amod/2", "ball/NN/NOUN/ROOT/2")
    assert bound(other, 0, 1) == without


@pytest.mark.parametrize("pos", ["NOUN", "PROPN", "ADJ"])
@pytest.mark.parametrize("dep", ["det", "neg", "amod", "nummod", "compound", "prep", "nsubj"])
def test_dependents_of_a_complement(pos: str, dep: str) -> None:
    doc = annotated("is/VBZ/AUX/ROOT/0", f"x/XX/X/{dep}/2", f"red/XX/{pos}/attr/0")
    expected = dep in ("det", "neg") or (
        pos in ("NOUN", "PROPN") and dep in dangling.MODIFIER | {"nummod"}
    )
    assert bound(doc, 1, 2) == expected


def test_words_before_a_noun_that_stays_are_not_bound() -> None:
    doc = annotated(
        "three/CD/NUM/nummod/1",
        "tan/NN/NOUN/ROOT/1",
        "and/CC/CCONJ/cc/1",
        "red/JJ/ADJ/conj/1",
        "dogs/NNS/NOUN/dep/1",
    )
    assert not bound(doc, 0, 1, 3)
    assert bound(doc, 0, 1, 3, 4)


@pytest.mark.parametrize("pos", ["NOUN", "PROPN", "VERB", "ADJ"])
@pytest.mark.parametrize("gap", [0, 1, 6, 7, 8])
def test_a_noun_is_searched_for_within_eight_tokens(pos: str, gap: int) -> None:
    words = ["red/JJ/ADJ/ROOT/0", *["x/JJ/ADJ/dep/0"] * gap, f"ball/NN/{pos}/dep/0"]
    doc = annotated(*words)
    found = dangling._stands_before_noun(doc[0], set(range(gap + 1)))
    assert found == (pos in ("NOUN", "PROPN") and gap < 8)
    assert not dangling._stands_before_noun(doc[gap + 1], set())


# --- Copulas


@pytest.mark.parametrize(
    ("token", "completes"),
    [
        ("outside/RB/ADV/advmod/0", True),
        ("quickly/RB/ADV/advmod/0", False),
        ("not/RB/PART/neg/0", False),
        ("not/RB/ADV/neg/0", False),
        ("in/IN/ADP/prep/0", True),
        ("ball/NN/NOUN/attr/0", True),
        ("and/CC/CCONJ/cc/0", False),
        (",/,/PUNCT/punct/0", False),
        ("\n/_SP/SPACE/dep/0", False),
    ],
)
def test_what_can_stand_alone_behind_a_copula(token: str, completes: bool) -> None:
    doc = annotated("is/VBZ/AUX/ROOT/0", token)
    assert dangling._can_complete(doc[1], LEXICON) == completes


@pytest.mark.parametrize("verb_dep", ["ROOT", "relcl"])
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize(
    ("child", "goes"),
    [
        ("which/WDT/PRON/nsubj", {"ROOT": (False, False), "relcl": (True, True)}),
        ("which/WDT/PRON/nsubjpass", {"ROOT": (False, False), "relcl": (True, True)}),
        ("ball/NN/NOUN/nsubj", {"ROOT": (False, False), "relcl": (False, False)}),
        ("not/RB/PART/neg", {"ROOT": (True, True), "relcl": (True, True)}),
        ("has/VBZ/AUX/aux", {"ROOT": (True, False), "relcl": (True, False)}),
        ("been/VBN/AUX/auxpass", {"ROOT": (True, False), "relcl": (True, False)}),
        ("often/RB/ADV/advmod", {"ROOT": (True, False), "relcl": (True, False)}),
        ("while/IN/SCONJ/mark", {"ROOT": (False, False), "relcl": (True, False)}),
        ("in/IN/ADP/prep", {"ROOT": (False, False), "relcl": (False, False)}),
    ],
)
def test_what_goes_with_a_verb(
    child: str, goes: dict[str, tuple[bool, bool]], verb_dep: str, left: bool
) -> None:
    if left:
        head = "1" if verb_dep == "ROOT" else "2"
        doc = annotated(f"{child}/1", f"is/VBZ/AUX/{verb_dep}/{head}", "x/NN/NOUN/ROOT/2")
        found = dangling._goes_with_verb(doc[0], doc[1])
    else:
        head = "0" if verb_dep == "ROOT" else "2"
        doc = annotated(f"is/VBZ/AUX/{verb_dep}/{head}", f"{child}/0", "x/NN/NOUN/ROOT/2")
        found = dangling._goes_with_verb(doc[1], doc[0])
    assert found == goes[verb_dep][0 if left else 1]


# --- Punctuation and words that lead nowhere


def lost(doc: Doc, sign: int, left: int | None, *removed: int) -> set[int]:
    sentence = list(doc)
    return dangling._lost_punctuation(
        Tree(doc), sentence, doc[sign], None if left is None else doc[left], set(removed)
    )


@pytest.mark.parametrize(
    ("before", "after", "goes"),
    [
        ("the/DT/DET", "ball/NN/NOUN", True),
        ("in/IN/ADP", "ball/NN/NOUN", True),
        ("is/VBZ/AUX", "ball/NN/NOUN", True),
        ("dog/NN/NOUN", "ball/NN/NOUN", False),
        ("dog/NN/NOUN", "./.PUNCT/PUNCT", True),
    ],
)
def test_a_comma_beside_a_removed_word(before: str, after: str, goes: bool) -> None:
    doc = annotated(f"{before}/ROOT/0", "+,/,/PUNCT/punct/0", "red/JJ/ADJ/dep/0", f"{after}/dep/0")
    assert lost(doc, 1, 0, 2) == ({1} if goes else set())
    assert lost(doc, 1, None, 0, 2) == {1}  # nothing is left before it


def test_a_comma_between_adjectives_goes() -> None:
    doc = annotated(
        "dog/NN/NOUN/dep/4",
        "red/JJ/ADJ/amod/4",
        "+,/,/PUNCT/punct/4",
        "round/JJ/ADJ/amod/4",
        "ball/NN/NOUN/ROOT/4",
    )
    assert lost(doc, 2, 0, 1) == {2}
    assert lost(doc, 2, 0, 3) == {2}
    assert lost(doc, 2, 0) == set()
    aside = annotated(
        "dog/NN/NOUN/ROOT/0", "+,/,/PUNCT/punct/0", "red/JJ/ADJ/dep/0", "+,/,/PUNCT/punct/0"
    )
    assert lost(aside, 1, 0, 2) == {1, 3}


@pytest.mark.parametrize(
    ("token", "leads"),
    [
        ("of/IN/ADP/prep", True),
        ("the/DT/DET/det", True),
        ("has/VBZ/AUX/dep", True),
        ("while/IN/SCONJ/dep", True),
        ("and/CC/CCONJ/dep", True),
        ("often/RB/ADV/advmod", False),
        ("has/VBZ/VERB/aux", False),
        ("ball/NN/NOUN/dep", False),
    ],
)
@pytest.mark.parametrize("end", [True, False])
def test_a_function_word_before_an_end_leads_nowhere(token: str, leads: bool, end: bool) -> None:
    doc = annotated(
        "dog/NN/NOUN/ROOT/0", f"{token}/0", "red/JJ/ADJ/dep/0", "+./.PUNCT/PUNCT/punct/0"
    )
    sentence, right = list(doc), None if end else doc[3]
    assert dangling._is_stranded(sentence, doc[1], right, {2}, LEXICON) == leads
    assert not dangling._is_stranded(sentence, doc[1], right, {0}, LEXICON)


@pytest.mark.parametrize("word", ["red", "denim"])
@pytest.mark.parametrize("dep", ["pobj", "pcomp", "dobj"])
@pytest.mark.parametrize("pos", ["VERB", "NOUN"])
@pytest.mark.parametrize("preposition", ["in", "on"])
def test_in_a_colour_before_a_verb(word: str, dep: str, pos: str, preposition: str) -> None:
    doc = annotated(
        "dog/NN/NOUN/ROOT/0",
        f"{preposition}/IN/ADP/prep/0",
        f"{word}/JJ/ADJ/amod/3",
        f"sitting/VBG/{pos}/{dep}/1",
    )
    found = dangling._is_stranded(list(doc), doc[1], doc[3], {2}, LEXICON)
    is_stranded = preposition == "in" and word == "red" and pos == "VERB" and dep != "dobj"
    assert found == is_stranded
    assert not dangling._is_stranded(list(doc), doc[1], doc[3], {0}, LEXICON)


@pytest.mark.parametrize(
    ("before", "after", "stranded"),
    [
        ("the/DT/DET", "ball/NN/NOUN", True),
        ("of/IN/ADP", "ball/NN/NOUN", True),
        ("dog/NN/NOUN", "ball/NN/NOUN", False),
        ("dog/NN/NOUN", "or/CC/CCONJ", True),
    ],
)
def test_a_conjunction_that_joins_nothing(before: str, after: str, stranded: bool) -> None:
    doc = annotated(f"{before}/ROOT/0", "and/CC/CCONJ/cc/0", "red/JJ/ADJ/conj/0", f"{after}/dep/0")
    assert dangling._is_stranded(list(doc), doc[1], doc[3], {2}, LEXICON) == stranded
    assert dangling._is_stranded(list(doc), doc[1], doc[3], {0, 2}, LEXICON)


@pytest.mark.parametrize("after", ["of/IN/ADP", "ball/NN/NOUN"])
@pytest.mark.parametrize("dep", ["det", "amod"])
@pytest.mark.parametrize("head", [1, 2])
def test_an_article_of_a_removed_word(after: str, dep: str, head: int) -> None:
    doc = annotated(f"the/DT/DET/{dep}/{head}", "red/JJ/ADJ/dep/2", f"{after}/ROOT/2")
    found = dangling._is_stranded(list(doc), doc[0], doc[2], {1}, LEXICON)
    assert found == (dep == "det" and head == 1 and after.endswith("ADP"))


def test_the_nearest_word_that_remains() -> None:
    doc = annotated(*["x/XX/X/ROOT/0", "y/XX/X/dep/0", "\n/_SP/SPACE/dep/0", "z/XX/X/dep/0"])
    sentence = list(doc)
    for removed, step, start, expected in (
        (set(), -1, 1, 0),
        (set(), 1, 1, 3),
        ({0}, -1, 1, None),
        ({3}, 1, 1, None),
        ({1}, -1, 3, 0),
        (set(), 1, 3, None),
    ):
        found = dangling._nearest(sentence, start, step, removed)
        assert (None if found is None else found.i) == expected
    later = sentence[1:]
    assert dangling._nearest(later, 3, -1, set()) is later[0]
    assert dangling._nearest(later, 1, -1, set()) is None


@pytest.mark.parametrize("dep", ["nsubj", "nsubjpass", "dobj"])
def test_a_clause_has_a_subject(dep: str) -> None:
    doc = annotated(f"dog/NN/NOUN/{dep}/1", "sits/VBZ/VERB/ROOT/1")
    assert dangling._has_subject(Tree(doc), doc[1], set()) == (dep != "dobj")
    assert not dangling._has_subject(Tree(doc), doc[1], {0})


def lost_complement(doc: Doc, word: int, *removed: int) -> bool:
    return dangling._lost_complement(Tree(doc), doc[word], set(removed), LEXICON)


@pytest.mark.parametrize(("pos", "dep"), [("ADP", "prep"), ("ADP", "prt"), ("SCONJ", "prep")])
@pytest.mark.parametrize("object_pos", ["NOUN", "ADJ", "ADV"])
@pytest.mark.parametrize("object_dep", ["pobj", "pcomp", "amod"])
def test_a_preposition_that_lost_its_object(
    pos: str, dep: str, object_pos: str, object_dep: str
) -> None:
    doc = annotated(
        "runs/VBZ/VERB/ROOT/0", f"in/IN/{pos}/{dep}/0", f"x/XX/{object_pos}/{object_dep}/1"
    )
    has_object = object_dep != "amod" or object_pos == "ADJ"
    is_preposition = (pos, dep) == ("ADP", "prep")
    assert lost_complement(doc, 1, 2) == (has_object and is_preposition)
    assert not lost_complement(doc, 1)


@pytest.mark.parametrize(
    ("verb", "pos", "carries"),
    [
        ("be", "AUX", True),
        ("be", "NOUN", False),
        ("made", "VERB", True),
        ("sits", "VERB", False),
    ],
)
def test_a_verb_that_lost_its_complement(verb: str, pos: str, carries: bool) -> None:
    doc = annotated("dog/NN/NOUN/nsubj/1", f"{verb}/VB/{pos}/ROOT/1", "red/JJ/ADJ/acomp/1")
    assert lost_complement(doc, 1, 2) == carries
    assert not lost_complement(doc, 1, 0)


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ("outside/RB/ADV/advmod/0", True),
        ("in/IN/ADP/prep/0", True),
        ("but/CC/CCONJ/cc/0", False),
        ("x/NN/NOUN/conj/0", False),
        (",/,/PUNCT/punct/0", False),
    ],
)
def test_be_stays_with_what_can_complete_it(more: str, stays: bool) -> None:
    doc = annotated("be/VB/AUX/ROOT/0", "red/JJ/ADJ/acomp/0", more)
    assert lost_complement(doc, 0, 1) == (not stays)


def test_made_goes_although_by_hand_remains() -> None:
    doc = annotated(
        "made/VBN/VERB/ROOT/0", "of/IN/ADP/prep/0", "red/NN/NOUN/pobj/1", "by/IN/ADP/prep/0"
    )
    assert lost_complement(doc, 0, 1, 2)
    both = annotated("made/VBN/VERB/ROOT/0", "x/NN/NOUN/dobj/0", "y/NN/NOUN/conj/1")
    assert not lost_complement(both, 0, 1)
    assert lost_complement(both, 0, 1, 2)


def test_a_conjunction_joins_what_remains() -> None:
    doc = annotated(
        "dog/NN/NOUN/ROOT/0", "and/CC/CCONJ/cc/0", "red/JJ/ADJ/conj/0", "./.PUNCT/PUNCT/punct/0"
    )
    joins = [dangling._joins_nothing(Tree(doc), doc[1], set(gone)) for gone in ([], [0], [2], [3])]
    assert joins == [False, True, True, False]
    alone = annotated("dog/NN/NOUN/ROOT/0", "and/CC/CCONJ/cc/0", "x/XX/X/dep/0", "y/XX/X/dep/0")
    joins = [dangling._joins_nothing(Tree(alone), alone[1], set(gone)) for gone in ([], [2], [3])]
    assert joins == [False, True, False]
    assert not dangling._joins_nothing(Tree(doc), doc[2], {0, 1})
