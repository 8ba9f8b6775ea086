"""The reference of params.yaml, made from the models: for the command line and the docs."""

from __future__ import annotations

import difflib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML

from structxlip.config.datasets import dataset_kinds, entry_class
from structxlip.config.inherit import LIKE
from structxlip.config.params import Params
from structxlip.config.recipe import RecipeEntry
from structxlip.config.section import Section
from structxlip.errors import UserError

# How a recipe is reached from the top of params.yaml; every recipe has the same keys.
RECIPE_PATH = "recipes.NAME."
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


@dataclass(frozen=True)
class KeyReference:
    """One key of params.yaml.

    Attributes:
        key: the path from the top of the file, without ``recipes.NAME.``.
        values: the type and the range, in words.
        default: as YAML writes it; None when the key must be given.
        description: what it is, its unit, and what higher and lower values do.
    """

    key: str
    values: str
    default: str | None
    description: str


def key_references() -> list[KeyReference]:
    """Every key that holds a value, in the order of the file; dataset entries apart."""
    own = [*_walk(Params, "", skip=("datasets", "presets", "recipes"))]
    return [*own, *_walk(RecipeEntry, "")]


def describe_keys(path: str | None, followed: Params | None = None) -> str:
    """The reference of one key, of a section, or (None) of all keys, as plain text.

    ``path`` may begin with ``recipes.NAME.``. With the parameters that a dataset follows, each key
    shows the value too. Raises ``UserError`` for a path that no key has.
    """
    keys = key_references()
    if path is not None:
        bare = ".".join(path.split(".")[2:]) if path.startswith("recipes.") else path
        found = [entry for entry in keys if entry.key == bare or entry.key.startswith(f"{bare}.")]
        if not found:
            known = [entry.key for entry in keys]
            short = {key.rpartition(".")[2]: key for key in known}
            close = difflib.get_close_matches(bare, [*known, *short], n=1, cutoff=0.5)
            hint = f"; did you mean {short.get(close[0], close[0])}?" if close else ""
            raise UserError(f"params.yaml has no key {path}{hint}", 2)
        keys = found
    return "\n".join(_text(entry, followed) for entry in keys)


def _text(entry: KeyReference, followed: Params | None) -> str:
    default = "required" if entry.default is None else f"default {entry.default}"
    shown = f" = {_value(entry.key, followed)}" if followed else ""
    return f"{entry.key}{shown}  ({entry.values}; {default})\n    {entry.description}\n"


def _value(key: str, followed: Params) -> str:
    """The value of a key as a dataset follows it."""
    content = {LIKE: None, **followed.recipe_settings.model_dump()}
    value: Any = followed.model_dump(by_alias=True) | content
    for part in key.split("."):
        value = value[part]
    return _yaml(value)


def kind_reference(kind: str) -> list[KeyReference]:
    """The keys of a dataset entry of a kind."""
    return [*_walk(entry_class(kind), "", skip=("kind",))]


def kind_description(kind: str) -> str:
    """The description of a kind of dataset, as one paragraph."""
    return " ".join((entry_class(kind).__doc__ or "").split())


def example_entry(kind: str) -> str:
    """An entry for `datasets:` of a kind as YAML, with every optional key at its default."""
    entry: dict[str, Any] = {"kind": kind, "path": "DIR"}
    for name, field in entry_class(kind).model_fields.items():
        if name not in entry and name not in ("lexicons", "recipe", "overrides"):
            entry[name] = _example(field)
    entry |= _example_path(kind)
    out = io.StringIO()
    YAML().dump({f"my_{kind}": _plain(entry)}, out)
    return out.getvalue()


def examples() -> str:
    """Every kind of dataset with its description and an entry to copy."""
    import textwrap

    parts = []
    for kind in dataset_kinds():
        about = textwrap.wrap(kind_description(kind), 88)
        parts.append("".join(f"# {line}\n" for line in about) + example_entry(kind))
    return "\n".join(parts)


def _example_path(kind: str) -> dict[str, Any]:
    field = entry_class(kind).model_fields["path"]
    return {"path": field.examples[0]} if field.examples else {}


def _example(field: FieldInfo) -> Any:
    if field.is_required():
        assert field.examples, "a required key of a dataset entry needs examples=[…]"
        return field.examples[0]
    return field.get_default(call_default_factory=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return _plain(value.model_dump())
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    return value


def _walk(
    model: type[BaseModel], prefix: str, skip: tuple[str, ...] = ()
) -> Iterator[KeyReference]:
    for name, field in model.model_fields.items():
        key, annotation = prefix + (field.alias or name), field.annotation
        if name in skip:
            continue
        if isinstance(annotation, type) and issubclass(annotation, Section):
            if annotation.model_fields:
                yield from _walk(annotation, f"{key}.")
                continue
            yield KeyReference(key, "empty mapping", None, field.description or "")
            continue
        default = (
            None if field.is_required() else _yaml(field.get_default(call_default_factory=True))
        )
        yield KeyReference(key, _values(field), default, field.description or "")


def _yaml(value: Any) -> str:
    """A value on one line, as YAML writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_yaml(entry)}' for key, entry in value.items())}}}"
    if isinstance(value, Section):
        return _yaml(value.model_dump())
    return f"{value:g}" if isinstance(value, float) else str(value)


def _values(field: FieldInfo) -> str:
    """The type and the range of a field, in words."""
    words, bounds = _type_words(field.annotation)
    bounds += [bound for entry in field.metadata for bound in _bounds(entry)]
    return ", ".join([words, *dict.fromkeys(bounds)])


def _type_words(annotation: Any) -> tuple[str, list[str]]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        words, bounds = _type_words(annotation.__origin__)
        inner = [bound for entry in annotation.__metadata__ for bound in _field_bounds(entry)]
        return words, bounds + inner
    if annotation is type(None):
        return "null", []
    if origin is Literal:
        return ", ".join(map(str, arguments)), []
    if origin in (Union, UnionType):
        members = [_type_words(argument) for argument in arguments]
        return " or ".join(words for words, _ in members), [
            b for _, bounds in members for b in bounds
        ]
    if origin is list:
        words, bounds = _type_words(arguments[0])
        return f"list of {words}", bounds
    if origin is dict:
        return "mapping", []
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "mapping", []
    return _WORDS[annotation], []


def _field_bounds(entry: Any) -> list[str]:
    """The bounds in the metadata of ``Annotated``: a field, or one constraint."""
    if isinstance(entry, FieldInfo):
        return [bound for inner in entry.metadata for bound in _bounds(inner)]
    return _bounds(entry)


def _bounds(entry: Any) -> list[str]:
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    found = [
        f"{word} {getattr(entry, sign):.12g}"
        for sign, word in signs.items()
        if hasattr(entry, sign)
    ]
    if hasattr(entry, "multiple_of"):
        found.append(f"a multiple of {entry.multiple_of:g}")
    return found
