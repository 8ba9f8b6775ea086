"""Changes of params.yaml that keep its comments: activate a preset, select a recipe."""

from __future__ import annotations

import difflib
import io
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from structxlip.config.inherit import merged
from structxlip.config.params import load_params, validate_params
from structxlip.config.section import NAME
from structxlip.errors import UserError
from structxlip.progress import say


class _Representer(RoundTripRepresenter):
    """Writes null as the word `null`; ruamel would leave the place empty."""

    def represent_none(self, data: None) -> ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:null", "null")


_Representer.add_representer(type(None), _Representer.represent_none)


def activate_preset(params_file: Path, preset: str, path: Path) -> None:
    """Copy ``presets.<preset>``, with its path, to ``datasets``.

    Raises ``UserError`` for an unknown preset, a path that does not exist, or a result that is not
    valid; the file then stays as it was.
    """
    presets = load_params(params_file).presets
    if preset not in presets:
        close = difflib.get_close_matches(preset, presets, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(presets)}"
        raise UserError(f"{params_file} has no preset {preset!r}; {hint}", 2)
    if not path.exists():
        raise UserError(f"{path} does not exist; give the folder or file of the dataset", 2)
    entry = {"kind": presets[preset]["kind"], "path": str(path)} | presets[preset]
    _edit(params_file, lambda content: content["datasets"].update({preset: entry}))
    say(f"{preset} is active and reads {path}; run `dvc repro package@{preset}`")


def add_dataset(params_file: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Write an entry under ``datasets``.

    Raises ``UserError`` for a name that is taken, or a result that is not valid; the file then
    stays as it was.
    """
    if name in load_params(params_file).datasets:
        raise UserError(f"{params_file} has a dataset {name!r} already; take another name", 2)
    _edit(params_file, lambda content: content["datasets"].update({name: dict(entry)}))
    say(f"{name} is active; `dvc repro evaluate@{name}` trains and compares")


def replace_datasets(params_file: Path, entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write these entries in the place of all under ``datasets``."""
    plain = {name: dict(entry) for name, entry in entries.items()}
    _edit(params_file, lambda content: content.update(datasets=plain))


def check_name(name: str) -> None:
    """Raise ``UserError`` for what cannot be the name of a dataset."""
    if not re.fullmatch(NAME, name):
        raise UserError(f"{name!r} cannot name a dataset; take lower-case letters, digits and _", 2)


def entry_text(name: str, entry: Mapping[str, Any]) -> str:
    """An entry as it will stand in the file."""
    out = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump({name: dict(entry)}, out)
    return out.getvalue()


def select_recipe(params_file: Path, recipe: str, dataset: str | None = None) -> None:
    """Select the recipe that the stages follow, or those of one dataset.

    Raises ``UserError`` for a name that is no recipe or no dataset of the file; the file then stays
    as it was.
    """
    params = load_params(params_file)
    if dataset is None:
        _edit(params_file, lambda content: content.update(recipe=recipe))
    else:
        params.dataset(dataset)
        _edit(params_file, lambda content: content["datasets"][dataset].update(recipe=recipe))
    of_dataset = f" of {dataset}" if dataset else ""
    say(f"the recipe{of_dataset} is {recipe} now; `dvc repro` runs what it changes")


def overridden(params_file: Path, dataset: str, values: Mapping[str, Any]) -> tuple[str, str]:
    """The text of a parameter file as it is, and with values added to the ``overrides`` of a
    dataset. The file stays as it is."""

    def change(content: Any) -> None:
        entry = content["datasets"][dataset]
        entry["overrides"] = merged(entry.get("overrides", {}), values)

    return params_file.read_text(encoding="utf-8"), _changed(params_file, change)


def _edit(params_file: Path, change: Callable[[Any], None]) -> None:
    """Apply a change to a parameter file, whole or (where the result is not valid) not at all."""
    content = _changed(params_file, change)
    temporary = params_file.with_name(f".{params_file.name}.tmp-{os.getpid()}")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(params_file)


def _changed(params_file: Path, change: Callable[[Any], None]) -> str:
    """The text of a parameter file after a change, whose result is valid."""
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.preserve_quotes = True
    yaml.width = 4096
    content = yaml.load(params_file.read_text(encoding="utf-8"))
    change(content)
    out = io.StringIO()
    yaml.dump(content, out)
    validate_params(YAML(typ="safe").load(out.getvalue()), str(params_file))
    return out.getvalue()
