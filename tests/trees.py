"""Trees of files that a source reads, and what it tells of them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from structxlip.config.datasets import Dataset
from structxlip.data.sources import Source, open_source


def write(root: Path, files: dict[str, Any]) -> None:
    """Files by their paths: bytes, text, or what becomes JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")


def tar(files: dict[str, bytes]) -> bytes:
    """The bytes of a tar file with these members."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as shard:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return out.getvalue()


def opened(kind: str, root: Path, **settings: Any) -> Source:
    entry = TypeAdapter(Dataset).validate_python({"kind": kind, "path": str(root), **settings})
    return open_source(entry)


def told(source: Source) -> list[tuple[str, str | None, str, list[str], bytes]]:
    """The pairs of a source in short: id, split, group, captions and bytes."""
    pairs = list(source.pairs)
    assert len(pairs) == source.size
    return [(p.id, p.split, p.group, list(p.captions), p.read_image()) for p in pairs]
