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


def test_an_unknown_lexicon_that_resembles_none_is_told_all():
    with pytest.raises(ValueError, match="unknown lexicon 'x'; valid are: fashion, general, medic"):
        load_lexicon(["x"])
    with pytest.raises(ValueError, match=r"^unknown lexicon 'medicl'; did you mean 'medical'\?$"):
        load_lexicon(["medicl"])


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_groups_of_words_have_their_meanings(tmp_path):
    own = write(
        tmp_path / "own.yml",
        "keep: {spatial: [astern, abeam], shape: [lenticular]}\n"
        "drop: {colour: [vermeil, céladon], texture: [nubby]}\n",
    )
    lexicon = load_lexicon([own])
    assert lexicon.places == {"astern", "abeam"}
    assert lexicon.colours == {"vermeil", "céladon"}
    assert lexicon.keep == {"astern", "abeam", "lenticular"}
    assert lexicon.drop == {"vermeil", "céladon", "nubby"}


@pytest.mark.parametrize(
    ("said", "keeps"),
    [
        (["", ""], False),
        (["keep", ""], True),
        (["keep", "drop"], False),
        (["drop", "keep"], True),
        (["", "keep"], True),
    ],
)
def test_the_last_lexicon_that_says_so_decides_on_unlisted_words(tmp_path, said, keeps):
    files = [
        write(tmp_path / f"{i}.yaml", f"unlisted: {word}\n" if word else "bound: [x]\n")
        for i, word in enumerate(said)
    ]
    assert load_lexicon(files).keeps_unlisted == keeps


def test_a_file_may_have_all_keys(tmp_path):
    own = write(
        tmp_path / "own.yaml",
        "keep: {}\ndrop: {}\nunlisted: keep\nshades: [deep]\nbound: [haired]\n"
        "carriers: [make]\nterms: [Gray  Matter]\n",
    )
    lexicon = load_lexicon([own])
    assert lexicon.terms == {("gray", "matter")}
    assert (lexicon.shades, lexicon.bound, lexicon.carriers) == ({"deep"}, {"haired"}, {"make"})
    with pytest.raises(ValueError, match="keys keep, drop, unlisted, shades, bound, carriers, ter"):
        load_lexicon([write(tmp_path / "other.yaml", "colours: [red]\n")])


def test_all_words_that_are_kept_and_dropped_are_named(tmp_path):
    own = write(tmp_path / "own.yaml", "keep: {a: [one, two]}\ndrop: {b: [two, one]}\n")
    with pytest.raises(ValueError, match=r"^lexicons both keep and drop: one, two$"):
        load_lexicon([own])
