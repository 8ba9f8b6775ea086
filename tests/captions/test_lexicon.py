"""Lexicons: the words of a domain, words of one's own, and files that are refused."""

import pytest

from structxlip.captions import load_lexicon, structure_caption


@pytest.mark.parametrize(
    ("domain", "caption", "expected"),
    [
        ("medical", "Axial CT of a bilobed hypodense lesion", "Axial CT of a bilobed lesion"),
        ("medical", "Supine view of the pleural fluid", "Supine view of the pleural fluid"),
        ("medical", "a cystic suprasellar mass", "a cystic suprasellar mass"),
        ("fashion", "a sleeveless viscose dress", "a sleeveless dress"),
        ("fashion", "a hooded quilted corduroy jacket", "a hooded jacket"),
    ],
)
def test_a_domain_has_words_of_its_own(language, domain, caption, expected):
    found = {
        names: structure_caption(language(caption), lexicon=load_lexicon(names)).text
        for names in (("general",), ("general", domain))
    }
    assert found["general", domain] == expected
    assert found["general",] != expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("the distal right ureter", "the distal right ureter"),
        ("findings consistent with a stone", "findings consistent with a stone"),
        ("A mildly heterogeneous suprahyoid mass", "A suprahyoid mass"),
        ("The lesion is isointense to muscle.", "The lesion."),
        ("gray matter, metal artifact", "gray matter, metal artifact"),
    ],
)  # fmt: skip
def test_a_report_keeps_what_its_lexicon_does_not_name(language, caption, expected):
    lexicon = load_lexicon(["general", "medical"])
    assert structure_caption(language(caption), lexicon=lexicon).text == expected


def test_a_lexicon_of_ones_own_adds_words(language, tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("keep: {pose: [crouching, sleepy]}\n")
    lexicon = load_lexicon(["general", own])
    assert structure_caption(language("a sleepy red cat"), lexicon=lexicon).text == "a sleepy cat"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("keep: {spatial: [red]}", "both keep and drop: red"),
        ("keep: {spatial: [on]}", "quote `on`"),
        ("keep: [left]", "lists of words"),
        ("kept: {}", "must have the keys"),
        ("[left", "cannot be read"),
        ("unlisted: maybe", "`unlisted: keep` or `unlisted: drop`"),
    ],
)
def test_a_bad_lexicon_is_refused(tmp_path, content, message):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_lexicon(["general", path])


def test_an_unknown_lexicon_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'general'"):
        load_lexicon(["generl"])
