"""Digests of files, kept between runs: a large file is read once, not at each start."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

DIGESTS = Path(".cache/digests")
LARGE_BYTES = 2**24  # a smaller file is read each time
SETTLED_S = 2.0  # a file may have changed within the resolution of its time stamp


def file_digest(path: Path) -> bytes:
    """The BLAKE2b digest of the bytes of a file.

    That of a large file is kept under `.cache/digests`, and holds for as long as its inode, size
    and time of change stay.
    """
    stat = path.stat()
    state = f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"
    name = hashlib.blake2b(str(path.resolve()).encode(), digest_size=16).hexdigest()
    kept = DIGESTS / name
    if stat.st_size >= LARGE_BYTES and kept.exists():
        known, _, digest = kept.read_text().rpartition("\n")
        if known == state:
            return bytes.fromhex(digest)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "blake2b").digest()
    if stat.st_size >= LARGE_BYTES and time.time() - stat.st_mtime > SETTLED_S:
        DIGESTS.mkdir(parents=True, exist_ok=True)
        written = kept.with_suffix(f".{time.monotonic_ns()}")  # others may write the same one
        written.write_text(f"{state}\n{found.hex()}")
        written.replace(kept)
    return found
