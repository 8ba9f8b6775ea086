"""Clean raw captions, or refuse them with a reason."""

from __future__ import annotations

import re
import unicodedata
from html import unescape

from structxlip.data.quarantine import BadCaption

MAX_WORDS = 10_000
MAX_LETTERS = 1_000  # in one word; also a caption in a script without spaces has fewer
REPETITIONS = 3  # a caption of only one word, this many times or more, is refused
# Characters that neither show nor change how another one looks: soft hyphen, zero-width space,
# byte order mark, marks of the writing direction. The joiners of emoji and of some scripts, and
# variation selectors, change a neighbour, and stay.
_UNSEEN = re.compile("[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_BLANK_LETTERS = frozenset("\u115f\u1160\u3164\uffa0")  # letters by their category, yet blank

# Plain expressions read HTML here, because parsers of HTML take the "<" of "3 <4 cm" for a tag.
# Each is linear: a search that fails has read no further than the next "<" or the end of a text
# of which nothing is left to search.
_HIDDEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style|template)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_TAG = re.compile(r"""<(?:[!?]|/?([a-zA-Z][a-zA-Z0-9:-]*))((?:[^<>"']|"[^"]*"|'[^']*')*|[^<>]*)>""")
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,31}|#[0-9]+|#[xX][0-9a-fA-F]+);")
_BLOCK_NAME = re.compile(
    "address|article|aside|blockquote|br|caption|d[dlt]|details|div|fieldset|figcaption|figure"
    "|footer|form|h[1-6r]|header|legend|li|main|nav|ol|option|p|pre|section|summary"
    "|table|tbody|t[dhr]|tfoot|thead|title|ul"
)
_ESCAPED_TIMES = 3  # a database or a feed may escape markup again
_BREAK = "\x1e"  # the end of a block: one of the control characters, which are white space
_ENDS = ".!?…:;,。！？：；，"
_BULLET = re.compile(r"^[•·▪‣◦●*–-]\s+")


def clean_caption(text: str) -> str:
    """Clean a raw caption.

    Unicode is composed (NFC), characters that never show are removed, each control character
    becomes a space, and each run of white space becomes one space.

    Raises:
        BadCaption: with the reason `not_utf8`, `empty_caption`, `only_markup`, `repeated_word`,
            `oversized_word` or `oversized_caption`.
    """
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise BadCaption("not_utf8", "holds bytes that are no UTF-8")
    composed = unicodedata.normalize("NFC", _UNSEEN.sub("", text))
    visible = "".join(c if unicodedata.category(c) != "Cc" else " " for c in composed)
    words = visible.split()
    if not words:
        raise BadCaption("empty_caption", "has no words")
    if not says_something(visible):
        raise BadCaption("empty_caption", f"has no letter and no digit: {' '.join(words)[:20]!r}")
    if len(words) > MAX_WORDS:
        raise BadCaption("oversized_caption", f"has {len(words)} words")
    if (longest := max(map(len, words))) > MAX_LETTERS:
        raise BadCaption("oversized_word", f"has a word of {longest} characters")
    if len(words) >= REPETITIONS and len({word.casefold() for word in words}) == 1:
        raise BadCaption("repeated_word", f"says {words[0]!r} {len(words)} times")
    clean = " ".join(words)
    if not says_something(plain_text(clean)):
        raise BadCaption("only_markup", "is HTML without text")
    return clean


def has_markup(text: str) -> bool:
    """Whether a clean text has tags or entities of HTML."""
    return plain_text(text) != text


def plain_text(html: str) -> str:
    """The text of HTML on one line.

    Entities are decoded, also those that were escaped up to three times. Comments, scripts and
    styles are left out. Each paragraph, list item, heading, table cell and line break ends a
    sentence: it gets a full stop where it has no punctuation. A text without markup stays as it
    is, but for its white space.
    """
    text = html.replace("<![CDATA[", "").replace("]]>", "")
    for _ in range(_ESCAPED_TIMES):
        text = unescape(_TAG.sub(_instead, _HIDDEN.sub("", text)))
        if not (_ENTITY.search(text) or _TAG.search(text)):
            break
    return _as_sentences(text.split(_BREAK))


def _instead(tag: re.Match[str]) -> str:
    """The text in the place of a tag: a break for the tag of a block, else nothing."""
    name, attributes = (tag[1] or "").lower(), tag[2]
    if _BLOCK_NAME.fullmatch(name):
        return _BREAK
    is_tag = not name or "=" in attributes or not attributes.strip(" /")
    return "" if is_tag else tag[0]  # "a<b and b>c" has no tag


def _as_sentences(blocks: list[str]) -> str:
    """Blocks of text as sentences of one line. Blocks that say nothing are left out."""
    lines = [_BULLET.sub("", " ".join(block.split())) for block in blocks]
    lines = [line for line in lines if says_something(line)] if len(lines) > 1 else lines
    ended = [
        line if line.rstrip("\"'”’»)").endswith(tuple(_ENDS)) else f"{line}." for line in lines
    ]
    return " ".join([*ended[:-1], *lines[-1:]])


def says_something(text: str) -> bool:
    """Whether a text has a letter or a digit that shows."""
    return any(c.isalnum() and c not in _BLANK_LETTERS for c in text)
