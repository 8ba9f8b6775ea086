"""Captions become one clean line, or are refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.quarantine import BadCaption
from structxlip.data.text import MAX_WORDS, clean_caption, plain_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  a\tdog\n on  grass ", "a dog on grass"),
        ("a\x00 dog\x07", "a dog"),
        ("cafe\u0301", "café"),
        ("no no", "no no"),
        ("x < y and y > z", "x < y and y > z"),
        ("<b>bold</b>", "<b>bold</b>"),  # sources that hold HTML strip it themselves
        ("犬が走る 🐕", "犬が走る 🐕"),
        ("犬" * 900, "犬" * 900),  # a language without spaces
    ],
)
def test_clean(text: str, clean: str) -> None:
    assert clean_caption(text) == clean


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty_caption"),
        (" \n\t ", "empty_caption"),
        ("\x00\x1b", "empty_caption"),
        ("dog Dog DOG", "repeated_word"),
        ("<p><br/></p>", "only_markup"),
        ("<img src='a.jpg'> <!-- x -->", "only_markup"),
        ("&nbsp; <br>", "only_markup"),
        ("a \udcff dog", "not_utf8"),
        ("word " * MAX_WORDS + "more", "oversized_caption"),
        ("a " + "Ã?Â" * 400, "oversized_word"),
    ],
)
def test_refused(text: str, reason: str) -> None:
    with pytest.raises(BadCaption) as refused:
        clean_caption(text)
    assert refused.value.reason == reason


@given(st.text())
def test_a_clean_caption_is_one_line_and_stays_so(text: str) -> None:
    try:
        clean = clean_caption(text)
    except BadCaption:
        return
    assert clean == " ".join(clean.split()) == clean_caption(clean)
    assert not any(ord(c) < 32 for c in clean)


def test_html_becomes_text() -> None:
    assert plain_text("<p>A&nbsp;<b>red</b> &amp; blue</p>").split() == ["A", "red", "&", "blue"]
    assert plain_text("no html, 3 < 4") == "no html, 3 < 4"
