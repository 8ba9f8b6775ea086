"""Tables as text: comma, semicolon, tab or bar between the cells, read strictly."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from structxlip.data.readers.records import Record
from structxlip.data.readers.text_files import text_lines
from structxlip.errors import UserError

DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
MAX_CELL = 2**24  # characters; a longer cell comes of a quotation mark that is never closed
SHOWN = 60  # characters of a line that a message shows
_SEP = re.compile(r'"?sep=(.)"?')  # the line before the heading that names Excel the delimiter


def csv_records(
    path: Path,
    columns: Iterable[str],
    aliases: Mapping[str, str] | None = None,
    *,
    quotes: bool = True,
    name: str = "",
) -> Iterator[Record]:
    """The rows of a table whose first line names its columns, as records. The table is streamed.

    White space around a cell does not count. Blank lines are skipped; a line of empty cells is a
    record like any other.

    Args:
        path: the table; ``text_lines`` says what files it may be.
        columns: the columns that are needed. The first is what every row has, such as the image.
            The delimiter is the one that finds all of them in the first line.
        aliases: other names of columns, in lower case, and the names that they get.
        quotes: whether cells may stand in quotation marks; False where a mark is always text.
        name: of the file in messages; empty for its own.

    Raises:
        UserError: with the number of the line, when the first line lacks a column or names one
            twice, when a row has more or fewer cells than it, or when a quotation mark is not
            closed where its cell ends.
    """
    lines = _Lines(path)
    names, delimiter = _heading(lines, list(columns), aliases or {})
    first = names.index(next(iter(columns), names[0]))
    for cells in _rows(lines, delimiter, first, quotes=quotes):
        if cells in ([], [""]):
            continue
        if len(cells) != len(names) and any(cells[len(names) :] or [True]):
            raise UserError(
                f"{lines.where} has {len(cells)} cells and the first line {len(names)}; write a "
                f'cell that holds a {DELIMITERS.get(delimiter, delimiter)} or a line break in "…"'
            )
        fields = dict(zip(names, cells, strict=False))
        yield Record(fields, f"{name or path.name}, line {lines.start}")


class _Lines:
    """The lines of a file, of which those of the last row are known."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.row: list[str] = []
        self._count = 0
        self._lines = text_lines(path)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._count += 1
        self.row.append(line)
        return line

    @property
    def start(self) -> int:
        """The number of the first line of the row."""
        return self._count - len(self.row) + 1

    @property
    def where(self) -> str:
        return f"{self.path}, line {self.start}"


def _rows(lines: _Lines, delimiter: str, first: int, *, quotes: bool) -> Iterator[list[str]]:
    """The cells of each row. ``first``: the column that tells whether a line is a row."""
    csv.field_size_limit(max(csv.field_size_limit(), MAX_CELL))
    rows = csv.reader(
        lines,
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        skipinitialspace=True,
        strict=True,
    )
    while True:
        lines.row.clear()
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{lines.where}: {_not_closed(str(error))}") from None
        if len(lines.row) > 1 and (swallowed := _swallowed(lines.row, cells, delimiter, first)):
            reason = f"it would hold another row: {swallowed.strip()[:SHOWN]!r}"
            raise UserError(f"{lines.where}: {_not_closed(reason)}")
        yield [cell.strip() for cell in cells]


def _not_closed(reason: str) -> str:
    return (
        f"a quotation mark opens a cell that is not closed at its end ({reason}); "
        'write each mark within a cell twice, and the cell in marks: "A ""red"" hat"; a `table` '
        "whose marks are all text takes `quotes: false`"
    )


def _swallowed(row: list[str], cells: list[str], delimiter: str, first: int) -> str | None:
    """The line of a row of several lines that is a row of its own, if there is one.

    The line that holds the name of the row is none: the first, or the last where the name follows
    the cells of several lines.
    """
    broken = [number for number, cell in enumerate(cells) if "\n" in cell]
    others = row[first <= broken[-1] : len(row) - (first >= broken[0])]
    return next((line for line in others if _is_row(line, cells, delimiter, first)), None)


def _is_row(line: str, cells: list[str], delimiter: str, first: int) -> bool:
    """Whether a line within a row of the given cells is a row of its own.

    It has as many cells or more. Texts may hold that many commas, if not tabs, so its name, at its
    place from the left or from the right, must look like that of the row too.
    """
    own = line.split(delimiter)
    if len(own) < len(cells) or len(cells) == 1:
        return False
    look = _look(cells[first].replace(" ", "_"))
    names = (own[first], own[first - len(cells)])
    return delimiter == "\t" or (look is not None and look in map(_look, names))


def _look(name: str) -> str | None:
    """The pattern of a file name: its suffix, or else its shape, such as `a0` for `img12`; None for
    a name without either. The names in one table share their pattern."""
    bare = name.strip().strip('"')
    if suffix := Path(bare).suffix:
        return None if " " in bare else suffix.lower()
    shape = re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", bare))
    return shape if "0" in shape else None


def _heading(
    lines: _Lines, columns: list[str], aliases: Mapping[str, str]
) -> tuple[list[str], str]:
    """The names of the columns, and the delimiter between them."""
    line = next((line for line in lines if line.strip()), "")
    delimiters = [*DELIMITERS]
    if given := _SEP.fullmatch(line.strip()):
        line, delimiters = next(lines, ""), [given[1]]
    if any("\ud800" <= character <= "\udfff" for character in line):
        raise UserError(f"{lines.path}: the names of the columns are not UTF-8; save it as UTF-8")
    headings = [(_names(line, delimiter, aliases), delimiter) for delimiter in delimiters]
    names, delimiter = max(
        headings, key=lambda heading: (set(columns) <= {*heading[0]}, len(heading[0]))
    )
    if missing := [name for name in columns if name not in names]:
        raise UserError(
            f"{lines.path} needs {', '.join(dict.fromkeys(missing))}, found: "
            f"{', '.join(filter(None, names)) or 'nothing'}"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise UserError(f"{lines.path} has more than one column {twice[0]}; rename all but one")
    return names, delimiter


def _names(line: str, delimiter: str, aliases: Mapping[str, str]) -> list[str]:
    cells = next(csv.reader([line], delimiter=delimiter, skipinitialspace=True), [])
    return [aliases.get(cell.strip().lower(), cell.strip()) for cell in cells]
