"""Captions made of columns: templates such as ``"{name}, {price:.2f} euros. {description}"``."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import cache
from math import isfinite
from typing import Any

from structxlip.data.pairs import (
    Caption,
    captions_in,
    described,
    is_missing,
    printed_list,
    says_nothing,
)
from structxlip.data.quarantine import BadCaption, storable
from structxlip.data.sources.records import Record
from structxlip.data.text import plain_text
from structxlip.errors import UserError


def columns_of(template: str) -> list[str]:
    """The columns in a caption template such as ``"{name}. {description}"``.

    A template without braces is itself the name of a column. Raises ``UserError`` for a template
    that cannot be read.
    """
    return [column for _, column, _, _ in _pieces(template) if column is not None]


def captions_from(template: str, record: Record, *, html: bool = False) -> list[Caption]:
    """The captions that a template makes of a record.

    A template that is one column alone may find a list there: several captions. What is no caption
    becomes a ``BadCaption``. ``html``: captions are HTML, which becomes text.
    """
    pieces = _pieces(template)
    if len(pieces) == 1 and pieces[0][0] == "" and pieces[0][2:] in (("", None), ("s", None)):
        found = record.captions(pieces[0][1] or template)
    else:
        try:
            found = captions_in(filled(template, record.mapping), record.where)
        except BadCaption as bad:
            found = [bad]
    return [_plain(text) if html and isinstance(text, str) else text for text in found]


def _plain(html: str) -> str:
    """The text of HTML; bytes that are not UTF-8 stay, so that the caption is listed."""
    return plain_text(html) if storable(html) == html else html


def filled(template: str, record: Mapping[str, Any]) -> str:
    """Fill a caption template with the columns of a record.

    Null, NaN and absent values are empty. Where all values are empty, so is the caption: the
    template's own words say nothing about an image. Braces in a value are text. A format such as
    ``{price:.2f}`` also formats a number that is written as text; other texts stay as they are.

    Raises ``BadCaption`` with the reason `not_text` for a value that is neither text nor number.
    """
    texts, empty = [], True
    for literal, column, form, conversion in _pieces(template):
        value = "" if column is None else _value(column, record.get(column), form, conversion)
        texts += [literal, value]
        empty = empty and not _has_words(value)
    return "" if empty else "".join(texts)


@cache
def _pieces(template: str) -> list[tuple[str, str | None, str, str | None]]:
    """A template as literal texts, each with the column, format and conversion that follow it."""
    try:
        pieces = list(string.Formatter().parse(template))
        for _, column, form, conversion in pieces:
            _check(column, form or "", conversion)
    except ValueError as error:
        raise UserError(f"the caption template {template!r} cannot be read ({error})", 2) from None
    if all(column is None for _, column, _, _ in pieces):
        return [("", template, "", None)]
    return [(literal, column, form or "", how) for literal, column, form, how in pieces]


def _check(column: str | None, form: str, conversion: str | None) -> None:
    """Raise ``ValueError`` for braces that no value can fill."""
    if column == "":
        raise ValueError("braces must hold the name of a column")
    if conversion not in (None, "s", "r", "a"):
        raise ValueError(f"unknown conversion !{conversion}")
    if "{" in form:
        raise ValueError("a format cannot hold a column")
    if _formatted("", form) is _formatted(0, form) is _formatted(0.5, form) is None:
        raise ValueError(f"unknown format {form!r}")


def _value(column: str, value: Any, form: str, conversion: str | None) -> str:
    if is_missing(value) or (isinstance(value, str) and says_nothing(value)):
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal, date)):
        raise BadCaption("not_text", f"has {described(value)} in {column}")
    if (isinstance(value, float) and not isfinite(value)) or printed_list(value):
        raise BadCaption("not_text", f"has {described(value)} in {column}")
    converted = string.Formatter().convert_field(value, conversion)
    texts = (_formatted(reading, form) for reading in _readings(converted))
    return next((text for text in texts if text is not None), f"{value}")


def _formatted(value: Any, form: str) -> str | None:
    """A formatted value; None where its type does not have this format."""
    with suppress(ValueError):
        return format(value, form)
    return None


def _readings(value: Any) -> Iterator[Any]:
    """A value, and the numbers that it may mean."""
    yield value
    with suppress(ValueError):
        number = float(value)
        if number.is_integer():
            yield int(number)
        yield number


def _has_words(text: str) -> bool:
    """Whether a text has a letter or a digit that is no HTML."""
    return any(character.isalnum() for character in (_plain(text) if "<" in text else text))
