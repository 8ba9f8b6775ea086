"""Captions become one clean line, or are refused with the reason."""

from __future__ import annotations

import time

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
        ("\ufeffa foot\u00adball\u200b", "a football"),  # what never shows
        ("👩\u200d🔧 at work", "👩\u200d🔧 at work"),  # a joiner changes what shows
        ("size 5", "size 5"),
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
        ("&nbsp;", "only_markup"),
        ("&#8203;&zwj;", "only_markup"),
        ("&amp;nbsp; &lt;p&gt;&lt;/p&gt;", "only_markup"),
        ("<script>var a = 1;</script>", "only_markup"),
        ("<!-- a dog -->", "only_markup"),
        ("<p>.</p>", "only_markup"),
        ("\u200b\ufeff\u00ad", "empty_caption"),
        ("\u3164", "empty_caption"),
        ("... - !", "empty_caption"),
        ("🐕", "empty_caption"),
        ("\u0301\ufe0f", "empty_caption"),
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


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>A&nbsp;<b>red</b> &amp; blue</p>", "A red & blue"),
        # the end of a block is the end of a sentence
        ("Wash care<br>Wipe it<br/>Dry it", "Wash care. Wipe it. Dry it"),
        ("<ul><li>One</li><li>• Two!</li><li>3,</li></ul>End", "One. Two! 3, End"),
        ("<h2>Care</h2>Cold: <br>yes", "Care. Cold: yes"),
        ("<tr><td>Material</td><td>92%</td></tr><td nowrap>x</td>", "Material. 92%. x"),
        ("<P CLASS='a > b'>One</P><p>“Two.”</p><p> </p><p>-</p>Three", "One. “Two.” Three"),
        # other tags are part of a word
        ("5<sup>th</sup> H<span style='x'>2</span>O <o:p></o:p>", "5th H2O"),
        # what a page does not show
        ("a<script>if (1<2) b</script><STYLE>p {}</STYLE><!-- <b>c</b> --> dog", "a dog"),
        ("a dog <!-- never closed", "a dog"),
        ("<![CDATA[<p>A dog</p>]]>", "A dog"),
        # escaped again
        ("&lt;p&gt;One&lt;/p&gt;Two&amp;nbsp;three", "One. Two three"),
        ("&amp;lt;b&amp;gt;A&amp;amp;B&amp;lt;/b&amp;gt;", "A&B"),
        # what is no markup
        ("no html, 3 < 4", "no html, 3 < 4"),
        ("3 <4 cm, x<y and y>z & R&D", "3 <4 cm, x<y and y>z & R&D"),
        ("3 &lt; 4 and 5 &gt; 4", "3 < 4 and 5 > 4"),
        ('<a title="5" screen">tv</a>', "tv"),
        ("", ""),
        ("<br>", ""),
    ],
)
def test_html_becomes_text(html: str, text: str) -> None:
    assert plain_text(html) == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>&\x1e")))
def test_text_without_markup_stays(text: str) -> None:
    one_line = " ".join(text.split())
    if not one_line.startswith(("•", "·", "▪", "‣", "◦", "●", "*", "–", "-")):
        assert plain_text(text) == one_line


@pytest.mark.parametrize(
    "part",
    ["<", "<a ", "<!--", "<b>", "<script>", "</script ", "&", '<a "', "<a \"'", "<p><", "[]"],
)
def test_markup_is_read_in_linear_time(part: str) -> None:
    def seconds(times: int) -> float:
        started = time.process_time()
        plain_text(part * times)
        return time.process_time() - started

    few, many = (min(seconds(times) for _ in range(3)) for times in (5_000, 20_000))
    assert many < 10 * few + 0.2  # four times the text; quadratic would be 16 times
