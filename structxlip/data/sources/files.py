"""Functions that sources share: read their files, or say what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from structxlip.data.quarantine import BadImage
from structxlip.data.sources.text_files import read_text, text_lines
from structxlip.errors import UserError

MAX_NAMES = 8  # names of files that a message lists


def existing(root: Path, name: str) -> Path:
    """The path ``root / name``, or that of the same file packed as ``name.gz``.

    Raises ``UserError``, which lists the content of ``root``, when it does not exist.
    """
    path = root / name
    if not path.exists() and (packed := root / f"{name}.gz").exists():
        return packed
    if not path.exists():
        inside = f"; {root} holds: {contents(root)}" if root.is_dir() else ""
        raise UserError(f"{path} does not exist{inside}")
    return path


def contents(root: Path) -> str:
    """The first ``MAX_NAMES`` names in a folder, as one text for a message."""
    return ", ".join(sorted(path.name for path in root.glob("*"))[:MAX_NAMES]) or "nothing"


def reader(folder: Path, name: str) -> Callable[[], bytes]:
    """A function that reads the bytes of the file ``name`` in ``folder``.

    It raises ``BadImage`` for a name or a link that leads out of the folder, and ``OSError`` for a
    file that cannot be read.
    """

    def read() -> bytes:
        root = folder.resolve()
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            raise BadImage("outside_folder", f"{name} leads out of {folder}")
        return path.read_bytes()

    return read


def read_json(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    """The content of a JSON file, a ``dict`` or a ``list`` as ``kind`` says.

    Raises ``UserError`` for a file that cannot be read or that holds something else.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is no JSON that can be read ({error})") from None
    if not isinstance(content, kind):
        wanted = "a mapping" if kind is dict else "a list"
        raise UserError(f"{path} must hold {wanted}, not {_shortened(content)}")
    return content


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn the errors of Arrow and Parquet for a file that they cannot read into ``UserError``."""
    import pyarrow as pa

    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{path} cannot be read ({error})") from None


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The mappings of a JSON lines file, one in each line. Empty lines are skipped.

    Raises ``UserError`` for a line that holds something else.
    """
    for number, line in enumerate(text_lines(path), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number} is no JSON ({error})") from None
        if not isinstance(record, dict):
            raise UserError(f"{path}, line {number} must hold a mapping, not {_shortened(record)}")
        yield record


def need(record: Mapping[str, Any], names: Iterable[str], where: Path | str) -> None:
    """Raise ``UserError`` when a record lacks one of ``names``. ``where`` says where it is from."""
    if missing := [name for name in names if name not in record]:
        found = ", ".join(map(str, record)) or "nothing"
        raise UserError(f"{where} needs {', '.join(missing)}, found: {found}")


def _shortened(value: Any) -> str:
    """A value for a message, in less than 61 characters."""
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."
