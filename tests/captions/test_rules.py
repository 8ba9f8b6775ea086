"""The rules of the caption filter on parses that are written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from spacy.tokens import Doc, Token

from structxlip.captions import sliding_chunks
from structxlip.captions.appearance import (
    _in_terms,
    _is_bare_attribute,
    _precedes_noun,
    _shares_of_material,
    is_content,
)
from structxlip.captions.phrases import _describes
from structxlip.captions.tree import Tree
from tests.captions.annotated import LEXICON, annotated

# --- A listed word before a noun


def two(word: str, tag: str, following: str) -> Token:
    return annotated(f"{word}/{tag}/NOUN/dep/1", following)[0]


@pytest.mark.parametrize("tag", ["NN", "NNP", "VBN", "NNS", "VBZ", "JJ"])
@pytest.mark.parametrize("pos", ["NOUN", "PROPN", "VERB", "ADP"])
def test_a_word_precedes_a_noun(tag: str, pos: str) -> None:
    token = two("denim", tag, f"thing/XX/{pos}/ROOT/1")
    expected = tag in ("NN", "NNP", "VBN") and pos in ("NOUN", "PROPN")
    assert _precedes_noun(token, LEXICON) == expected


@pytest.mark.parametrize("word", ["red", "denim"])
@pytest.mark.parametrize(
    ("following", "marks"),
    [
        ("striped/JJ/ADJ/ROOT/1", True),
        ("checked/VBN/VERB/ROOT/1", True),
        ("checked/VBD/VERB/ROOT/1", True),
        ("checks/VBZ/VERB/ROOT/1", False),
        ("on/IN/ADP/ROOT/1", False),
    ],
)
def test_a_colour_precedes_an_attribute_too(word: str, following: str, marks: bool) -> None:
    assert _precedes_noun(two(word, "NN", following), LEXICON) == (marks and word == "red")


def test_nothing_is_preceded_at_an_end_or_by_a_part_of_a_word() -> None:
    assert not _precedes_noun(annotated("red/NN/NOUN/ROOT/0")[0], LEXICON)
    glued = annotated("red/NN/NOUN/dep/1", "+ball/NN/NOUN/ROOT/1")
    assert not _precedes_noun(glued[0], LEXICON)
    sentences = annotated("red/NN/NOUN/ROOT/0", "balls/NN/NOUN/ROOT/1")
    assert sentences[1].is_sent_start
    assert not _precedes_noun(sentences[0], LEXICON)


# --- A colour or material alone


@pytest.mark.parametrize(
    ("verb", "preposition", "word", "bare"),
    [
        ("made", "of", "denim", True),
        ("made", "from", "denim", True),
        ("made", "in", "denim", True),
        ("made", "on", "denim", False),
        ("made", "on", "red", False),
        ("be", "of", "denim", True),
        ("be", "in", "denim", False),
        ("be", "in", "red", True),
        ("has", "in", "red", True),
        ("has", "in", "denim", False),
        ("has", "of", "denim", False),
    ],
)
def test_a_colour_or_material_behind_a_preposition(
    verb: str, preposition: str, word: str, bare: bool
) -> None:
    def found(*more: str, tag: str = "NN", governed: bool = False) -> bool:
        role = "conj/3" if governed else "pobj/1"
        doc = annotated(
            f"{verb}/VBN/VERB/ROOT/0",
            f"{preposition}/IN/ADP/prep/0",
            f"{word}/{tag}/NOUN/{role}",
            "x/NN/NOUN/pobj/1",
            *more,
        )
        token = doc[2]
        return _is_bare_attribute(Tree(doc), token, doc[3] if governed else token, LEXICON)

    assert found() == found(governed=True) == bare
    assert found("all/DT/DET/det/2") == found("x/JJ/ADJ/amod/2") == bare
    assert not found("the/DT/DET/det/2")
    assert not found("my/PRP$/PRON/poss/2")
    assert not found(tag="NNS")
    assert not found(tag="NNPS")


@pytest.mark.parametrize("dep", ["dobj", "oprd", "attr", "acomp", "nsubj"])
@pytest.mark.parametrize("verb", ["be", "has"])
def test_a_colour_or_material_as_a_complement(dep: str, verb: str) -> None:
    def found(role: str) -> bool:
        doc = annotated(
            f"there/EX/PRON/{role}/1", f"{verb}/VBZ/AUX/ROOT/1", f"denim/NN/NOUN/{dep}/1"
        )
        return _is_bare_attribute(Tree(doc), doc[2], doc[2], LEXICON)

    assert found("nsubj") == (verb == "be" and dep != "nsubj")
    assert not found("expl")


@pytest.mark.parametrize(
    ("word", "joined"),
    [("x/JJ/ADJ/amod/2", True), ("x/JJ/ADJ/amod/3", False), ("x/IN/ADP/prep/2", False)],
)
def test_words_of_a_phrase(word: str, joined: bool) -> None:
    doc = annotated(word, "red/JJ/ADJ/amod/2", "ball/NN/NOUN/ROOT/2", "runs/VBZ/VERB/dep/2")
    assert _describes(doc[0], 1, 2) == joined
    hyphen = annotated(
        "x/IN/ADP/prep/3", "+-/HYPH/PUNCT/punct/3", "+y/NN/NOUN/dep/3", "z/NN/NOUN/ROOT/3"
    )
    assert _describes(hyphen[0], 1, 3)  # the next word begins with a hyphen
    assert _describes(hyphen[1], 2, 3)
    apart = annotated(
        "x/IN/ADP/prep/3", "-/HYPH/PUNCT/punct/3", "y/NN/NOUN/dep/3", "z/NN/NOUN/ROOT/3"
    )
    assert not _describes(apart[0], 1, 3)
    glued = annotated("x/IN/ADP/prep/3", "+y/NN/NOUN/dep/3", "z/NN/NOUN/dep/3", "z/NN/NOUN/ROOT/3")
    assert not _describes(glued[0], 1, 3)


# --- Words that carry structure


@pytest.mark.parametrize("keeps_unlisted", [False, True])
@pytest.mark.parametrize("pos", ["ADJ", "ADV", "NOUN", "VERB", "NUM", "DET", "PUNCT"])
@pytest.mark.parametrize("word", ["round", "red", "x", "+-"])
def test_words_that_carry_structure(keeps_unlisted: bool, pos: str, word: str) -> None:
    lexicon = replace(LEXICON, keeps_unlisted=keeps_unlisted)
    token = annotated(f"{word}/XX/{pos}/ROOT/0")[0]
    if pos in ("ADJ", "ADV"):
        expected = word == "round" or (keeps_unlisted and word != "red")
    else:
        expected = pos in ("NOUN", "VERB", "NUM") and word != "+-"
    assert is_content(token, lexicon) == expected


def words(text: str) -> Doc:
    return annotated(*[f"{word}/XX/X/dep/0" for word in text.split()])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("of 80 % denim .", {1, 2, 3}),
        ("80 % washed denim and", {0, 1, 2, 3}),
        ("80 % very washed denim", set()),
        ("x % denim", set()),
        ("80 % x", set()),
        ("% denim", set()),
        ("5 % x 80 % denim", {3, 4, 5}),
    ],
)
def test_shares_of_a_material(text: str, found: set[int]) -> None:
    assert _shares_of_material(Tree(words(text)), LEXICON) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the gray matter is", {1, 2}),
        ("ground glass opacity", {0, 1, 2}),
        ("ground glass", set()),
        ("gray x matter", set()),
        ("gray matter", {0, 1}),
        ("matter gray", set()),
    ],
)
def test_terms_stay_whole(text: str, found: set[int]) -> None:
    terms = frozenset({("gray", "matter"), ("ground", "glass", "opacity")})
    assert _in_terms(Tree(words(text)), replace(LEXICON, terms=terms)) == found
    assert _in_terms(Tree(words(text)), LEXICON) == set()


@pytest.mark.parametrize(
    ("clause", "window"),
    [(1, 1), (2, 2), (4, 2), (5, 3), (10, 3), (11, 4), (20, 4), (21, 5), (40, 5), (41, 6), (90, 6)],
)
def test_the_window_grows_with_the_clause(clause: int, window: int) -> None:
    text = " ".join(["word"] * clause)
    chunks = sliding_chunks(f"{text}.", max_chunks=200)
    assert len(chunks) == clause - window + 1
    assert {len(text[c.start : c.end].split()) for c in chunks} == {window}
