"""Captions made of columns: templates such as ``"{name}, {price:.2f} euros. {description}"``."""

from __future__ import annotations

import string
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import cache
from typing import Any

from structxlip.data.pairs import Caption, described, is_missing
from structxlip.data.quarantine import BadCaption
from structxlip.data.readers.records import Record
from structxlip.data.text import plain_text, says_something
from structxlip.errors import UserError

LARGE = 10**16  # larger numbers are printed with an exponent


def columns_of(template: str) -> list[str]:
    """The columns in a caption template such as ``"{name}. {description}"``.

    A template without braces is itself the name of a column. Raises ``UserError`` for a template
    that cannot be read.
    """
    return [column for _, column, _, _ in _pieces(template) if column is not None]


def captions_from(template: str, record: Record) -> list[Caption]:
    """The captions of a record: those in the column that a template names, or one that it makes.

    Null values and NaN are empty. Where all values are empty, so is the caption: the template's own
    words say nothing about an image. Braces in a value are text. A format such as ``{price:.2f}``
    also formats a number that is written as text; other texts stay as they are. A value that is
    neither text nor number makes a ``BadCaption``, `not_text`.
    """
    columns = columns_of(template)
    if _pieces(template) == [("", columns[0], "", None)]:
        return record.captions(columns[0])
    return [_filled(template, record)]


def _filled(template: str, record: Record) -> Caption:
    texts, empty = [], True
    for literal, column, form, conversion in _pieces(template):
        try:
            value = "" if column is None else _value(record, column, form, conversion)
        except BadCaption as bad:
            return bad
        texts += [literal, value]
        empty = empty and not says_something(plain_text(value))
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


def _value(record: Record, column: str, form: str, conversion: str | None) -> str:
    """The text of a column; ``BadCaption`` where it is neither text nor number."""
    value = record.get(column)
    value = value.isoformat() if isinstance(value, date) else value
    found = [value] if _is_number(value) else record.captions(column)
    if not found or is_missing(value) or getattr(found[0], "reason", "") == "empty_caption":
        return ""
    if len(found) > 1 or isinstance(found[0], BadCaption):
        place = f"{column} in {record.where}"
        raise BadCaption("not_text", f"needs a text in {place}, not {described(value)}")
    converted = string.Formatter().convert_field(found[0], conversion)
    texts = (_formatted(reading, form) for reading in _readings(converted))
    return next((text for text in texts if text is not None), str(found[0]))


def _is_number(value: Any) -> bool:
    """Whether a value is a number that people write with digits alone, so none such as 1e308."""
    known = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    return known and not is_missing(value) and abs(value) < LARGE


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
