"""Text files as people save them: packed or not, in UTF-8 or UTF-16, with any line ends."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from structxlip.data.readers.lfs import EXPLANATION, POINTER
from structxlip.errors import UserError

# How a file that is no text begins, and what to say of it.
_NO_TEXT = {
    b"PK\x03\x04": "a ZIP archive or a workbook; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old workbook; save the sheet as CSV",
    POINTER: EXPLANATION,
    b"PAR1": "a Parquet file; name it .parquet",
}
_PACKED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
}
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
# UTF-32 before UTF-16, whose mark is the beginning of its own.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def text_lines(path: Path) -> Iterator[str]:
    r"""The lines of a text file, each with ``"\n"`` at its end whatever the file has there.

    A file that gzip, bzip2 or xz packed is unpacked, whatever its name. A text is UTF-16 or UTF-32
    where a byte order mark or its zero bytes say so, else UTF-8. Bytes that are not UTF-8 become
    surrogates: a caption that holds one is quarantined later.

    Raises ``UserError`` with the number of the line for a file that cannot be read as text.
    """
    number = 0
    try:
        with ExitStack() as stack:
            file = _unpacked(stack, path)
            encoding = _encoding(file.peek(4)[:4])
            errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
            text = stack.enter_context(io.TextIOWrapper(file, encoding, errors))
            for number, line in enumerate(text, start=1):
                if "\0" in line:
                    raise UserError(
                        f"{path}, line {number} holds zero bytes, so it is damaged or no text; "
                        f"save the file anew as UTF-8"
                    )
                yield line
    except (OSError, EOFError, UnicodeError, zlib.error, lzma.LZMAError) as error:
        raise UserError(
            f"{path} cannot be read after line {number} ({error}); get or save the file anew"
        ) from None


def read_text(path: Path) -> str:
    """The content of a text file. ``text_lines`` says what it may be and what is raised."""
    return "".join(text_lines(path))


def _unpacked(stack: ExitStack, path: Path) -> Any:
    """The bytes of a file, unpacked, with a method ``peek``."""
    file = stack.enter_context(path.open("rb"))
    head = file.peek(8)
    for start, what in _NO_TEXT.items():
        if head.startswith(start):
            raise UserError(f"{path} is {what}")
    opens = (opened for start, opened in _PACKED.items() if head.startswith(start))
    if unpack := next(opens, None):
        return stack.enter_context(unpack(file))
    return file


def _encoding(head: bytes) -> str:
    """The encoding of a text by its first 4 bytes.

    A text begins with ASCII characters, so zero bytes tell UTF-16, as in JSON (RFC 4627).
    """
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    match [byte == 0 for byte in head]:
        case [False, True, False, True]:
            return "utf-16-le"
        case [True, False, True, False]:
            return "utf-16-be"
    return "utf-8-sig"
