"""Image-caption pairs as a source yields them, before anything is validated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


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
        captions: the texts as they were found.
        group: what must not straddle splits, such as a patient, a product or a case.
        source: the kind of the source.
        split: the source's own split; None where it gives none.
        boxes: objects that the source marks.
        read_edges: returns the encoded edge map that the source brings along, if it does.
    """

    id: str
    read_image: Callable[[], bytes]
    captions: Sequence[str]
    group: str
    source: str
    split: str | None = None
    boxes: Sequence[Box] = ()
    read_edges: Callable[[], bytes] | None = None
