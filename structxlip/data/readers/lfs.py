"""Pointers of Git LFS: small text files that a clone holds in the place of the files."""

from __future__ import annotations

from pathlib import Path

POINTER = b"version https://git-lfs"
EXPLANATION = "a pointer of Git LFS, not the file; run `git lfs pull` in its folder"


def is_pointer(file: Path) -> bool:
    """Whether a file is a pointer of Git LFS in the place of another file."""
    with file.open("rb") as content:
        return content.read(len(POINTER)) == POINTER


def pointer_text(file: Path | str) -> str:
    """The message about a pointer."""
    return f"{file} is {EXPLANATION}"
