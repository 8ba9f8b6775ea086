"""Image-caption pairs as a source yields them, before anything is validated."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from structxlip.data.quarantine import BadCaption, BadImage, storable

Caption = str | BadCaption
# Words that programs write for a missing value. A caption of such a word alone says nothing.
_NO_VALUE = {"nan", "none", "null", "n/a", "<na>", "#n/a"}
_SHOWN = 40  # characters of a value that a message shows


@dataclass(frozen=True)
class Box:
    """An object of an image: left ``x``, top ``y``, width ``w`` and height ``h`` in pixels."""

    x: int
    y: int
    w: int
    h: int
    label: str


@dataclass(frozen=True)
class RawPair:
    """One image with its captions, as a source found them.

    Attributes:
        id: a stable name, unique within the dataset.
        read_image: returns the encoded bytes; raises ``OSError`` or ``BadImage`` when it cannot.
        captions: the texts as they were found. What ``captions_in`` finds to be no caption becomes
            a ``BadCaption``, which ingestion lists.
        group: what must not straddle splits, such as a patient, a product or a case.
        source: the kind of the source.
        split: the source's own split; None where it gives none.
        boxes: objects that the source marks.
        read_edges: returns the encoded edge map that the source brings along, if it does.
    """

    id: str
    read_image: Callable[[], bytes]
    captions: Sequence[Caption]
    group: str
    source: str
    split: str | None = None
    boxes: Sequence[Box] = ()
    read_edges: Callable[[], bytes] | None = None

    def __post_init__(self) -> None:
        captions = captions_in(self.captions) if self.captions is not None else []
        checked = {"id": storable(self.id), "group": storable(self.group), "captions": captions}
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def bad_pair(name: str, bad: BadImage, source: str) -> RawPair:
    """A pair for the quarantine: ``name`` says which record it is, and ``bad`` what is wrong."""

    def read() -> bytes:
        raise bad

    return RawPair(id=name, read_image=read, captions=(), group=name, source=source)


def captions_in(value: Any, place: str = "") -> list[Caption]:
    """The captions in a value: a text is one, a list of texts several.

    A text that is such a list as JSON or Python prints it counts as the list. What is no caption
    becomes a ``BadCaption`` with the reason `empty_caption` or `not_text`, and ``place`` in its
    detail, such as ``"text in t.jsonl, line 3"``.
    """
    values = value if isinstance(value, (list, tuple)) else [value]
    texts = [text for one in values for text in printed_list(one) or [one]]
    return [_caption(text, f" ({place})" if place else "") for text in texts]


def _caption(value: Any, place: str) -> Caption:
    if isinstance(value, BadCaption):
        return value
    if is_missing(value):
        return BadCaption("empty_caption", f"is {described(value)}{place}")
    if not isinstance(value, str):
        return BadCaption("not_text", f"is {described(value)}, not a text{place}")
    if says_nothing(value):
        return BadCaption("empty_caption", f"is the word {value.strip()!r}{place}")
    return value


def says_nothing(text: str) -> bool:
    """Whether a text is what a program writes for a missing value, such as ``nan``."""
    return text.strip().casefold() in _NO_VALUE


def printed_list(value: Any) -> list[Any] | None:
    """The list of texts that a text prints, such as ``"['A dog', 'A cat']"``; None for another."""
    if not isinstance(value, str) or not value.strip().startswith(("['", '["')):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(found, list) and all(isinstance(text, str) for text in found):
            return found
    return None


def is_missing(value: Any) -> bool:
    """Whether a value is null, NaN or an empty text."""
    return value is None or value != value or value == ""


def described(value: Any) -> str:
    """A value for a message: what it is, and the beginning of it."""
    if value is None:
        return "null"
    if value == "":
        return "empty"
    if value != value:
        return "NaN"
    kinds = {str: "the text", bool: "the truth value", int: "the number", float: "the number",
             list: "the list", dict: "the mapping"}  # fmt: skip
    kind = kinds.get(type(value), f"of the type {type(value).__name__}:")
    text = repr(value)
    return f"{kind} {text if len(text) <= _SHOWN else f'{text[: _SHOWN - 1]}…'}"
