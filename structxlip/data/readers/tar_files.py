"""Tar files: where the content of each member lies, and what is damaged."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from structxlip.data.quarantine import BadImage
from structxlip.data.readers.files import refuse_pointer
from structxlip.errors import UserError


@dataclass(frozen=True)
class Member:
    """A file in a tar file: the place of its content, in bytes."""

    shard: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The content; ``BadImage`` where the tar file ends before it."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.size)
        if len(content) < self.size:
            raise BadImage(
                "truncated_image",
                f"{self.shard.name} ends within {self.name}: {len(content)} of {self.size} bytes",
            )
        return content


@dataclass(frozen=True)
class Damage:
    """A place in a tar file, from ``offset`` in bytes, whose files cannot be told."""

    offset: int
    detail: str


def members(shard: Path) -> Iterator[Member | Damage]:
    """The files in a tar file that is not packed, and its damaged places, in order.

    Nothing is unpacked to disk, so a name in the tar file cannot write to another place. After a
    damaged header the next whole one is looked for, as ``tar --ignore-zeros`` does.

    Raises ``UserError`` for a file in which no header is whole.
    """
    refuse_pointer(shard)
    end, found = 0, False
    try:
        with tarfile.open(shard, "r:", ignore_zeros=True) as tar:
            while (member := tar.next()) is not None:
                if member.offset > end and (damage := _between(shard, end, member.offset)):
                    yield damage
                found = True
                end = tar.offset
                if member.isreg():
                    yield Member(shard, member.name, member.offset_data, member.size)
    # `tarfile` raises many types on damaged headers: TarError, ValueError, OverflowError, …
    except Exception as error:
        if not found:
            raise _refused(shard, error) from None
        yield Damage(end, f"{shard.name} cannot be read on from byte {end} ({error})")
        return
    size = shard.stat().st_size
    damage = _between(shard, end, size)
    if damage and not found:
        raise _refused(shard, "no header is whole")
    if damage:
        yield damage
    elif end == size:
        yield Damage(end, f"{shard.name} lacks the empty blocks of its end, so it may be cut")


def _refused(shard: Path, why: object) -> UserError:
    return UserError(f"{shard} is no tar file that is not packed ({why}); unpack it or get it anew")


def _between(shard: Path, start: int, end: int) -> Damage | None:
    """The damage in a range of bytes between two members; None for zeros, which may lie there."""
    with shard.open("rb") as file:
        file.seek(start)
        while start < end:
            block = file.read(min(2**20, end - start))
            if block.strip(b"\0"):
                return Damage(
                    start, f"{shard.name} is damaged between bytes {start} and {end}: get it anew"
                )
            if not block:
                break
            start += len(block)
    return None
