"""Captions from templates of columns."""

from __future__ import annotations

import re
import string
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.quarantine import BadCaption
from structxlip.data.readers.records import Record
from structxlip.data.readers.templates import captions_from, columns_of
from structxlip.errors import UserError


def filled(template: str, fields: dict[str, Any], **how: bool) -> str:
    (caption,) = captions_from(template, Record(fields, "t.csv, line 2"), **how)
    return caption if isinstance(caption, str) else f"{caption.reason}: {caption.detail}"


VALUES = st.text("cb{}!:. text", max_size=12)


@given(VALUES.filter(str.strip), VALUES)
def test_braces_in_a_value_are_text(name: str, text: str) -> None:
    if any(character.isalnum() for character in name + text):
        assert filled("{name}: {text}!", {"name": name, "text": text}) == f"{name}: {text}!"
    if text:
        assert filled("text", {"text": text}) == text


@given(
    st.floats(-1e6, 1e6).map(lambda number: number + 0.0),
    st.sampled_from([".2f", "8.1f", "+.0f", ",.2f", ".1%", ".3e", "g"]),
)
def test_numbers_have_their_format_whether_they_are_numbers_or_text(
    number: float, form: str
) -> None:
    template = f"costs {{price:{form}}}"
    assert filled(template, {"price": number}) == f"costs {number:{form}}"
    assert filled(template, {"price": str(number)}) == f"costs {number:{form}}"
    assert filled(template, {"price": Decimal(str(number))}).startswith("costs ")


FILLED: dict[str, tuple[str, dict[str, Any], str]] = {
    "whole number as text": ("No. {n:03d}", {"n": "7"}, "No. 007"),
    "whole number as a fraction": ("No. {n:03d}", {"n": 7.0}, "No. 007"),
    "fraction where a whole number is wanted": ("No. {n:d}", {"n": 7.5}, "No. 7.5"),
    "text where a number is wanted": ("costs {p:.2f}", {"p": "on request"}, "costs on request"),
    "text that is cut": ("{t:.3}", {"t": "sleeveless"}, "sle"),
    "conversion": ("{t!r} {n!s:>3}", {"t": "a", "n": 1}, "'a'   1"),
    "null, NaN and no value": ("{a}{b}{c} x {d}", {"a": None, "b": float("nan"), "d": 0}, " x 0"),
    "words for no value": ("{a}: {b}", {"a": "Hat", "b": "nan"}, "Hat: "),
    "list of one text": ("{a}: {b}", {"a": ["Hat"], "b": []}, "Hat: "),
    "column with spaces and a dot": ("{ACR Codes}{a.b}", {"ACR Codes": 8, "a.b": "c"}, "8c"),
    "doubled braces": ("{{{a}}}", {"a": "b"}, "{b}"),
    "column without braces": ("text", {"text": "{braces} {}"}, "{braces} {}"),
    "no words but the template's own": ("A photo of {a} and {b}.", {"a": "", "b": None}, ""),
    "no letter or digit": ("A photo of {a} and {b}.", {"a": "–", "b": " … "}, ""),
    "HTML alone": ("{a}. {b}", {"a": "", "b": "<p><br/></p>"}, ""),
    "one value of two": ("{a}: {b}", {"a": "Hat", "b": ""}, "Hat: "),
    "text in another script": ("{a}.", {"a": "帽子"}, "帽子."),
}


@pytest.mark.parametrize("kind", FILLED)
def test_filled(kind: str) -> None:
    template, record, expected = FILLED[kind]
    assert filled(template, record) == expected


@pytest.mark.parametrize(
    "value", [["a", "b"], {"a": "b"}, b"a", True, float("inf"), 1e308, "['a', 'b']", [1]]
)
def test_what_is_neither_text_nor_number_is_no_caption(value: Any) -> None:
    bad = filled("A photo of {a}.", {"a": value})
    assert re.match(r"not_text: needs a text in a in t\.csv, line 2, not ", bad)


def test_a_column_of_lists_holds_several_captions() -> None:
    record = Record({"text": ["one", None, "two"]}, "t.jsonl, line 1")
    for template in ("text", "{text}"):
        one, nothing, two = captions_from(template, record)
        assert (one, two) == ("one", "two")
        assert isinstance(nothing, BadCaption)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{a", "expected '}'"),
        ("a}", "encountered"),
        ("{} and {a}", "braces must hold the name of a column"),
        ("{a:.2q}", r"unknown format '\.2q'"),
        ("{a:{b}}", "a format cannot hold a column"),
        ("{a!x}", "unknown conversion !x"),
    ],
)
def test_a_template_that_cannot_be_read_is_one_sentence(template: str, problem: str) -> None:
    with pytest.raises(UserError, match=rf"template '.*' cannot be read \(.*{problem}") as refused:
        columns_of(template)
    assert refused.value.exit_code == 2


@given(st.text("{}a:!.[]", max_size=8))
def test_every_template_is_read_or_refused(template: str) -> None:
    """And reads what it names, never an attribute or an item of a value."""
    try:
        columns = columns_of(template)
    except UserError:
        return
    filled(template, dict.fromkeys(columns, "b"))
    parsed = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
    assert set(columns) == (parsed or {template})
