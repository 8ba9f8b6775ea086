"""The files on this machine that the name of a tower stands for."""

from __future__ import annotations

from pathlib import Path

from structxlip.models.towers.image import PACKAGED_IMAGE
from structxlip.models.towers.running import packaged
from structxlip.models.towers.text import PACKAGED_TEXT


def named_files(name: str) -> list[Path]:
    """Configuration and weights of a tower: those of its package, a file, or all of a folder.

    None for what comes from a hub, whose name says what it is.
    """
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        return _files(packaged(rest, PACKAGED_IMAGE | PACKAGED_TEXT))
    rest = rest.removeprefix("local-dir:")
    config, is_json, weights = rest.partition(".json")
    named = [config + is_json, weights[1:]] if is_json else [rest, rest.partition("/")[2]]
    return [file for path in named if path for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file()]
