"""The one place where a raw caption becomes a clean one, or is refused with a reason."""

from __future__ import annotations

import re
import unicodedata
import warnings

MAX_WORDS = 10_000
MAX_LETTERS = 1_000  # of a word: longer ones are no language, also where none is spaced
REPETITIONS = 3  # of one word, and of no other, that are no caption
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")


class BadCaption(ValueError):
    """A text that is no usable caption; ``reason`` is a stable word for reports."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def clean_caption(text: str) -> str:
    """Compose Unicode, drop control characters and make every run of white space one space.

    Raises ``BadCaption`` with the reason ``not_utf8``, ``empty_caption``, ``only_markup``,
    ``repeated_word``, ``oversized_word`` or ``oversized_caption``.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadCaption("not_utf8", "holds bytes that are no UTF-8")
    composed = unicodedata.normalize("NFC", text)
    visible = "".join(c if unicodedata.category(c) != "Cc" else " " for c in composed)
    words = visible.split()
    if not words:
        raise BadCaption("empty_caption", "has no words")
    if len(words) > MAX_WORDS:
        raise BadCaption("oversized_caption", f"has {len(words)} words")
    if (longest := max(map(len, words))) > MAX_LETTERS:
        raise BadCaption("oversized_word", f"has a word of {longest} characters")
    if len(words) >= REPETITIONS and len({word.casefold() for word in words}) == 1:
        raise BadCaption("repeated_word", f"says {words[0]!r} {len(words)} times")
    clean = " ".join(words)
    if _TAG.search(clean) and not plain_text(clean).strip():
        raise BadCaption("only_markup", "is HTML without text")
    return clean


def plain_text(html: str) -> str:
    """The text of HTML, entities decoded, with a space where a tag was."""
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        return BeautifulSoup(html, "html.parser").get_text(" ")
