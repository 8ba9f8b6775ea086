"""The quarantine: samples that do not enter an artifact, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from structxlip.errors import UserError

QUARANTINE = "quarantine.parquet"


class BadImage(ValueError):
    """Bytes that are not a usable image; ``reason`` is a stable word for reports."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class BadCaption(ValueError):
    """A text that is not a usable caption; ``reason`` is a stable word for reports."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Rejected:
    """A pair or a caption that was left out.

    Attributes:
        id: of the pair.
        reason: a stable word, such as `truncated_image`.
        detail: one sentence for a person.
        thumbnail: a small JPEG of the image, where there is one that a page may show.
    """

    id: str
    reason: str
    detail: str
    thumbnail: bytes | None = None


class RefusedData(UserError):
    """Too much was left out, or nothing is left; ``rejected`` is the list of what was left out."""

    def __init__(self, message: str, rejected: Sequence[Rejected]) -> None:
        super().__init__(message)
        self.rejected = rejected


def storable(text: str) -> str:
    r"""A text that UTF-8 can hold: bytes that were none are written as escapes, ``\udcff``."""
    return text.encode("utf-8", "backslashreplace").decode()


def write_quarantine(rejected: Sequence[Rejected], directory: Path) -> None:
    """Write ``quarantine.parquet``, the list of what was left out, into a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("id", "reason", "detail")
    schema = pa.schema([*((name, pa.string()) for name in names), ("thumbnail", pa.binary())])
    table = pa.Table.from_pylist([_row(entry) for entry in rejected], schema=schema)
    pq.write_table(table, directory / QUARANTINE)


def _row(entry: Rejected) -> dict[str, Any]:
    texts = {name: storable(getattr(entry, name)) for name in ("id", "reason", "detail")}
    return {**texts, "thumbnail": entry.thumbnail}
