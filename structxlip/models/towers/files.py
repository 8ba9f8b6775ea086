"""The files on this machine that the name of a tower stands for."""

from __future__ import annotations

import shutil
from pathlib import Path

from structxlip.models.state_dicts import weight_files

# In the name of a tower, the folder of the model that carries its files.
MODEL = "$MODEL"


def named_files(name: str) -> list[Path]:
    """The configuration and weights of a tower: of its package, of a file, or all of a folder.

    A tower that comes from a hub has none here: its name alone identifies it.
    """
    from structxlip.models.towers.kinds.packaged import IMAGE_PACKAGES, TEXT_PACKAGES, package_path

    if name.startswith("packaged:"):
        return _files(package_path(name, IMAGE_PACKAGES | TEXT_PACKAGES))
    return [file for path in _parts(name)[1] for file in _files(Path(path))]


def carry_towers(names: dict[str, str], directory: Path) -> dict[str, str]:
    """Copy the files of towers into the folder of a model, so that it can be moved.

    Args:
        names: the name of the tower of each side.
        directory: the folder of the model.

    Returns:
        The names there: ``MODEL`` stands for the folder, until ``at_folder`` replaces it. A tower
        of a package or of a hub keeps its name.
    """
    carried: dict[str, str] = {}
    for side, name in names.items():
        if name not in carried:  # both sides of one CLIP have the same name
            carried[name] = _carry(name, directory, Path("towers") / side)
    return {side: carried[name] for side, name in names.items()}


def at_folder(name: str, directory: Path) -> str:
    """The name that ``carry_towers`` gave, for a model that lies in ``directory`` now."""
    return name.replace(MODEL, str(directory.absolute()))


def _carry(name: str, directory: Path, place: Path) -> str:
    head, paths = _parts(name)
    moved = []
    for path in (Path(path).absolute() for path in paths):
        target = directory / place / path.name
        moved.append(f"{MODEL}/{place}/{path.name}")
        for file in _read_files(name, path):
            copy = target / file.relative_to(path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if not (copy.exists() and copy.samefile(file)):  # it is saved where it was loaded
                shutil.copyfile(file, copy)
    return head + "/".join(moved)


def _read_files(name: str, path: Path) -> list[Path]:
    """The files of a path that the tower reads."""
    if path.is_dir() and name.startswith("hf:"):  # which may hold the weights in other formats too
        return [path / "config.json", *path.glob("*.index.json"), *weight_files(path)]
    return _files(path)


def _parts(name: str) -> tuple[str, list[str]]:
    """The head of a name, and the paths on this machine that follow it, joined by slashes."""
    kind, _, rest = name.partition(":")
    head = f"{kind}:"
    if kind == "packaged" or rest.startswith("hf-hub:"):
        return name, []
    if rest.startswith("local-dir:"):
        head, rest = f"{head}local-dir:", rest.removeprefix("local-dir:")
    config, is_json, weights = rest.partition(".json")
    if is_json:
        paths = [config + is_json, *filter(None, [weights[1:]])]
    elif Path(rest).exists():
        paths = [rest]
    else:
        model, _, weights = rest.partition("/")
        head, paths = f"{head}{model}/", [weights]
    return (head, paths) if all(map(_exists, paths)) else (name, [])


def _exists(path: str) -> bool:
    return bool(path) and Path(path).exists()


def _files(path: Path) -> list[Path]:
    found = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in found if file.is_file()]
