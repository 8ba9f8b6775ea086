"""A refused parameter file as one sentence: the key, the reason, the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

from pydantic import BaseModel, ValidationError

Path = tuple[str | int, ...]  # of a key


def sentence(
    error: ValidationError,
    valid_keys: Callable[[Path], list[str]],
    place: Callable[[Path], Path] = lambda path: path,
) -> str:
    """The first problem of a validation as one sentence, and the keys of all others.

    Args:
        error: what pydantic found.
        valid_keys: the keys that are valid below a path, as pydantic knows it.
        place: where in the file the key at such a path stands.
    """
    problems = error.errors()
    problem = problems[0]
    loc = _written(problem["loc"])
    keys = [_key(place(_written(one["loc"]))) for one in problems]
    key = keys[0]
    others = [other for other in dict.fromkeys(keys) if other != key]
    more = f" (wrong too: {', '.join(others)})" if others else ""
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{nearest(str(loc[-1]), valid_keys(loc[:-1]))}{more}"
    if problem["type"] == "missing":
        return f"{key}: is missing{more}"
    if problem["type"] == "kind_missing":
        return f"{key}.kind: is missing; valid are: {problem['msg']}{more}"
    if problem["type"] == "kind_unknown":
        return f"{key}.kind: {problem['msg']}{more}"
    if problem["type"] in ("model_type", "model_attributes_type", "dict_type"):
        return f"{key}: must be a mapping, not {problem['input']!r}{more}"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    words = [  # that another member of a union takes
        other["ctx"]["expected"]
        for other, of_other in zip(problems[1:], keys[1:], strict=True)
        if of_other == key and other["type"] == "literal_error"
    ]
    message = ", or ".join([message, *words])
    given = problem["input"]
    shown = "" if isinstance(given, dict | list | BaseModel) else f", not {given!r}"
    where = f"{key}: " if place(loc) else ""  # else the message names the key itself
    return f"{where}{message}{shown}{more}"


def keys_of(model: type[BaseModel], path: Path) -> list[str]:
    """The keys that are valid at a path below a section."""
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return [field.alias or name for name, field in model.model_fields.items()]


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint at the nearest of the valid names, or at all of them."""
    close = difflib.get_close_matches(name, known := list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; valid are: {', '.join(sorted(known))}"


def _written(loc: Path) -> Path:
    """The path of a key. pydantic adds the names of the members of a union of types, which the user
    never wrote."""
    return tuple(part for part in loc if "[" not in str(part) and part != "constrained-int")


def _key(path: Path) -> str:
    return ".".join(map(str, path)) or "the file"
