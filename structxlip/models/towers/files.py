"""The files on this machine that the name of a tower stands for."""

from __future__ import annotations

from pathlib import Path

from structxlip.models.towers.kinds.packaged import IMAGE_PACKAGES, TEXT_PACKAGES, package_path


def named_files(name: str) -> list[Path]:
    """The configuration and weights of a tower: of its package, of a file, or all of a folder.

    A tower that comes from a hub has none here: its name alone identifies it.
    """
    kind, _, rest = name.partition(":")
    if kind == "packaged":
        return _files(package_path(name, IMAGE_PACKAGES | TEXT_PACKAGES))
    rest = rest.removeprefix("local-dir:")
    config, is_json, weights = rest.partition(".json")
    named = [config + is_json, weights[1:]] if is_json else [rest, rest.partition("/")[2]]
    return [file for path in named if path for file in _files(Path(path))]


def _files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file()]
