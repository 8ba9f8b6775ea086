"""Records: what a file holds of one pair. Each field is checked before it is used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import (
    Box,
    Caption,
    RawPair,
    bad_pair,
    captions_in,
    described,
    is_missing,
)
from structxlip.data.quarantine import BadImage, storable
from structxlip.data.readers.files import reader
from structxlip.data.readers.text_files import text_lines
from structxlip.errors import UserError

Made = TypeVar("Made", RawPair, RawPair | None)
MAX_PIXELS = 2**31 - 1  # the largest side that the pair store holds


@dataclass(frozen=True)
class Record:
    """One record of a file, unchecked. Its values may be of any type.

    Attributes:
        fields: the values by their names, or the ``BadImage`` of a record that cannot be read.
        where: names the record, such as ``t.jsonl, line 3``.
    """

    fields: Mapping[str, Any] | BadImage
    where: str

    @property
    def mapping(self) -> Mapping[str, Any]:
        """The values by their names; ``BadImage`` for a record that cannot be read at all."""
        if isinstance(self.fields, BadImage):
            raise self.fields
        return self.fields

    def get(self, name: str) -> Any:
        """The value of a field; None where there is none. ``BadImage`` as ``mapping``."""
        return self.mapping.get(name)

    def name(self, field: str) -> str:
        """The value of a field that names something: a text, or a whole number as a text.

        So the number 1, the text "1", and 1.0, as pandas writes it beside empty cells, are the
        same name. Raises ``BadImage`` with the reason `bad_record` for anything else.
        """
        if (found := as_name(self.get(field))) is None:
            self.refuse(field, "must be a name")
        return found

    def file_name(self, field: str) -> str:
        """The value of a field that names a file; ``BadImage``, `missing_image`, for no text."""
        found = self.get(field)
        if is_missing(found) or not isinstance(found, str):
            raise BadImage("missing_image", f"{field} in {self.where} is {described(found)}")
        return found

    @property
    def readable(self) -> bool:
        """Whether the record could be read at all."""
        return not isinstance(self.fields, BadImage)

    def captions(self, field: str) -> list[Caption]:
        """The captions in a field, as ``captions_in`` finds them."""
        return captions_in(self.get(field), f"{field} in {self.where}")

    def file(
        self, field: str, folder: Path, dataset: DatasetEntry, what: str = "image"
    ) -> Callable[[], bytes]:
        """A function that reads the file which a field names; ``reader`` says what it raises."""
        place = f"{field} in {self.where}"
        return reader(folder, self.get(field), roots=dataset.link_roots, what=what, place=place)

    def refuse(self, field: str, why: str) -> NoReturn:
        """Raise ``BadImage`` with the reason `bad_record`. ``why``: what the field should be."""
        raise BadImage(
            "bad_record", f"{field} in {self.where} is {described(self.get(field))}; it {why}"
        )


def pairs_of(
    records: Iterable[Record], source: str, make: Callable[[Record], RawPair | None]
) -> tuple[list[RawPair], int]:
    """The pairs that ``make`` makes of records, and how many records it leaves out."""
    made = [pair_of(record, source, make) for record in records]
    pairs = [pair for pair in made if pair is not None]
    return pairs, len(made) - len(pairs)


def as_name(value: Any) -> str | None:
    """A text, or a whole number as a text; None for anything else."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def records_in(values: Any, path: Path, name: str = "") -> list[Record]:
    """The records of a list in a JSON file; ``UserError`` where it is no list.

    ``name`` is the key of the list in the file; empty where the file is the list itself.
    """
    if not isinstance(values, list):
        raise UserError(f"{name} in {path} must be a list, not {described(values)}")
    where = f"{path.name}, {name}" if name else path.name
    return [record_of(value, f"{where}[{number}]") for number, value in enumerate(values)]


def line_records(path: Path, name: str = "") -> Iterator[Record]:
    """The records of a JSON lines file, one in each line. Empty lines are skipped.

    ``name`` is that of the file in messages; empty for its own.

    A line that is no JSON, or no mapping, is a broken record.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        where = f"{name or path.name}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            value = BadImage("bad_record", f"{where} is no JSON ({error})")
        yield record_of(value, where)


def record_of(value: Any, where: str) -> Record:
    """The record of a value; a broken one where it is no mapping."""
    if isinstance(value, (Mapping, BadImage)):
        return Record(value, where)
    return Record(BadImage("bad_record", f"{where} is {described(value)}, not a mapping"), where)


def pair_of(record: Record, source: str, make: Callable[[Record], Made]) -> Made | RawPair:
    """The pair that ``make`` makes of a record; one for the quarantine where a field is bad.

    ``make`` returns None for a record that the lists of the dataset leave out.
    """
    try:
        return make(record)
    except BadImage as bad:
        return bad_pair(record.where, bad, source)


def need_fields(records: Iterable[Record], names: Iterable[str], path: Path) -> None:
    """Raise ``UserError`` for a field that no record has. A record may lack a field: it is null.

    The records are read only until every field was seen.
    """
    missing, found = dict.fromkeys(names), None
    for record in records:
        if isinstance(record.fields, Mapping):
            found = record.fields if found is None else found
            missing = {name: None for name in missing if name not in record.fields}
        if not missing:
            return
    if found is not None:
        raise UserError(
            f"{path} needs {', '.join(missing)}, found: {', '.join(found) or 'nothing'}"
        )


def number_in(value: Any, where: str) -> float:
    """A finite number; ``BadImage`` with the reason `bad_record` for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise BadImage("bad_record", f"{where} is {described(value)}, not a number")
    return value


def box_in(sides: Any, label: Any, where: str) -> Box:
    """The box of ``sides``, left, top, width and height in pixels, with its label or null.

    Raises ``BadImage`` with the reason `bad_record` for other values.
    """
    if not isinstance(sides, (list, tuple)) or len(sides) != 4:
        raise BadImage("bad_record", f"the box in {where} is {described(sides)}, not four numbers")
    if not isinstance(label, str | None):
        raise BadImage("bad_record", f"label in {where} is {described(label)}, not a text")
    x, y, w, h = (round(number_in(side, f"the box in {where}")) for side in sides)
    if max(map(abs, (x, y, w, h))) > MAX_PIXELS:
        raise BadImage("bad_record", f"the box in {where} is {described(sides)}, too large")
    return Box(x, y, w, h, storable(label or ""))
