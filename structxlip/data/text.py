"""Clean raw captions, or refuse them with a reason."""

from __future__ import annotations

import re
import unicodedata
import warnings

from structxlip.data.quarantine import BadCaption

MAX_WORDS = 10_000
MAX_LETTERS = 1_000  # in one word; also a caption in a script without spaces has fewer
REPETITIONS = 3  # a caption of only one word, this many times or more, is refused
_TAG = re.compile(r"</?[a-zA-Z!][^<>]*>")


def clean_caption(text: str) -> str:
    """Clean a raw caption.

    Unicode is composed (NFC), each control character becomes a space, and each run of white space
    becomes one space.

    Raises:
        BadCaption: with the reason `not_utf8`, `empty_caption`, `only_markup`, `repeated_word`,
            `oversized_word` or `oversized_caption`.
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
    """The text of HTML: entities are decoded, and each tag becomes a space."""
    from bs4 import BeautifulSoup, MarkupResemblesLocatorWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MarkupResemblesLocatorWarning)
        return BeautifulSoup(html, "html.parser").get_text(" ")
