"""Configurations of a dataset repository: which files are which split, as its README.md says.

The rules are those of `datasets`, in "Manual Configuration" of the documentation of the Hub: the
block between the two lines ``---`` at the beginning of README.md may hold `configs`. Each names its
files by patterns, or a folder whose splits are read off the paths.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from structxlip.data.readers.split_names import FileSplits, file_splits, named_splits
from structxlip.errors import UserError

CARD = "README.md"


class _Patterns(BaseModel):
    """The files of one split."""

    split: str
    path: str | list[str]


class _Configuration(BaseModel):
    """An entry of `configs`. Keys that do not concern the files are passed over."""

    config_name: str
    data_files: list[str] | list[_Patterns] | None = None
    data_dir: str | None = None
    default: bool = False

    @field_validator("data_files", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


def card_splits(root: Path, files: Sequence[PurePath], name: str | None) -> FileSplits | None:
    """The splits of files as the card of the repository ``root`` gives them; None without a card.

    Args:
        root: the folder of the repository.
        files: of the dataset, relative to ``root``.
        name: the configuration to read. None is the only one, or the default of several.

    Raises ``UserError`` for a card that cannot be read, an unknown configuration, and several of
    which none is the default.
    """
    card, configurations = root / CARD, _configurations(root / CARD)
    if not configurations:
        if name is not None:
            raise UserError(f"{card} has no configurations; remove `config: {name}`")
        return None
    chosen = _chosen(configurations, name, card)
    where = f"the configuration {chosen.config_name} of {card}"
    if chosen.data_files is None:
        below = PurePath(chosen.data_dir or ".")
        inside = {path.relative_to(below): path for path in files if path.is_relative_to(below)}
        found = file_splits(inside)
        splits = {inside[path]: split for path, split in found.splits.items()}
        return _complete(splits, files, where, found.warnings)
    named = [one for one in chosen.data_files if isinstance(one, _Patterns)]
    if not named:
        patterns = [one for one in chosen.data_files if isinstance(one, str)]
        unsplit = dict.fromkeys(_matching(root, patterns, files, where))
        return _complete(unsplit, files, where)
    found = named_splits(
        {path: one.split for one in named for path in _matching(root, one.path, files, where)}
    )
    return _complete(found.splits, files, where, found.warnings)


def _complete(
    splits: Mapping[PurePath, str | None],
    files: Sequence[PurePath],
    where: str,
    warnings: Sequence[str] = (),
) -> FileSplits:
    """The splits of some files, and a warning of the others."""
    left_out = [path for path in files if path not in splits]
    if left_out and not warnings:
        warnings = [f"{len(left_out)} of {len(files)} files are not in {where} and are left out"]
    return FileSplits(splits, left_out, warnings)


def _configurations(card: Path) -> list[_Configuration]:
    try:
        lines = card.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{card} cannot be read ({error})") from None
    if "---" not in lines[1:] or lines[0] != "---":
        return []
    try:
        content = YAML(typ="safe").load("\n".join(lines[1 : lines.index("---", 1)]))
        configs = content.get("configs") if isinstance(content, dict) else None
        return TypeAdapter(list[_Configuration]).validate_python(configs or [])
    except (YAMLError, ValidationError) as error:
        reason = str(error).splitlines()
        raise UserError(f"{card}: its configs cannot be read ({'; '.join(reason[:3])})") from None


def _chosen(configurations: list[_Configuration], name: str | None, card: Path) -> _Configuration:
    by_name = {one.config_name: one for one in configurations}
    names = ", ".join(by_name)
    if name is not None:
        if name not in by_name:
            raise UserError(f"{card} has no configuration {name}; it has {names}")
        return by_name[name]
    defaults = [one for one in configurations if one.default or one.config_name == "default"]
    if len(configurations) == 1 or len(defaults) == 1:
        return (defaults or configurations)[0]
    raise UserError(f"{card} has the configurations {names}; set `config` to one of them")


def _matching(
    root: Path, patterns: str | list[str], files: Sequence[PurePath], where: str
) -> list[PurePath]:
    """The files that some patterns match; ``UserError`` where one of them matches none."""
    found: dict[PurePath, None] = {}
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matched = {PurePath(path) for path in glob.glob(pattern, root_dir=root, recursive=True)}
        if not (ours := [path for path in files if path in matched]):
            raise UserError(f"{where} names {pattern}, and there is no such Parquet file")
        found |= dict.fromkeys(ours)
    return list(found)
