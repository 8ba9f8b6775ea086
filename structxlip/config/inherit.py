"""Settings laid over others: a recipe over the one that it is like, a dataset over its recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LIKE = "like"  # the key of a recipe that names another one


def merged(base: Any, change: Any) -> Any:
    """``change`` laid over ``base``: mappings key by key, everything else as a whole.

    A number in the place of a loss is its weight, on either side.
    """
    if _is_number(change) and isinstance(base, Mapping) and "weight" in base:
        change = {"weight": change}
    if _is_number(base) and isinstance(change, Mapping):
        base = {"weight": base}
    if not (isinstance(base, Mapping) and isinstance(change, Mapping)):
        return change
    taken = {key: merged(base[key], value) for key, value in change.items() if key in base}
    return {**base, **change, **taken}


def lineage(recipes: Mapping[str, Any], name: str) -> list[str]:
    """A recipe, the one that it is like, the one that this one is like, and so on.

    Raises ``ValueError`` for a name that is no recipe, and for a circle.
    """
    names = [name]
    while other := _like(recipes[names[-1]]):
        if other not in recipes:
            raise ValueError(f"like: {other!r} is no recipe; valid are: {', '.join(recipes)}")
        if other in names:
            raise ValueError(f"like: {' is like '.join([*names, other])}, in a circle")
        names.append(other)
    return names


def recipe_content(recipes: Mapping[str, Any], name: str) -> Any:
    """A recipe as it stands in the file, with everything that it leaves out and takes from others.

    Raises ``ValueError`` as ``lineage`` does.
    """
    content: Any = {}
    for one in reversed(lineage(recipes, name)):
        content = merged(content, recipes[one])
    return {k: v for k, v in content.items() if k != LIKE} if isinstance(content, dict) else content


def writer(recipes: Mapping[str, Any], name: str, path: tuple[str | int, ...]) -> str:
    """The recipe in the lineage of ``name`` that writes the key at a path; else ``name``."""
    return next((one for one in lineage(recipes, name) if _has(recipes[one], path)), name)


def _like(entry: Any) -> str | None:
    found = entry.get(LIKE) if isinstance(entry, Mapping) else None
    return None if found is None else str(found)


def _has(content: Any, path: tuple[str | int, ...]) -> bool:
    for part in path:
        if not isinstance(content, Mapping) or part not in content:
            return False
        content = content[part]
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
