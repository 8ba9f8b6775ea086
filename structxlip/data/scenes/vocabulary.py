"""The words of scenes: what can be drawn, and the phrases that say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from string import Formatter
from typing import Any

import yaml

from structxlip.data.scenes.objects import (
    INVERSE,
    LIGHTS,
    OBJECTS,
    PATTERNS,
    RADII,
    RGB,
    SHAPES,
    TEXTURES,
    ZONES,
    Phrases,
)


@dataclass(frozen=True)
class Vocabulary:
    """Names of what can be drawn, each with the phrases that say it (see scenes.yaml)."""

    shapes: Phrases
    colours: Mapping[str, RGB]
    patterns: Phrases
    sizes: Phrases
    positions: Phrases
    relations: Phrases
    grounds: Mapping[str, RGB]
    textures: Phrases
    lights: Phrases
    numbers: Phrases
    templates: Phrases


# What each section names, and the fields that every phrase of a name must have.
_SECTIONS: dict[str, dict[str, set[str]]] = {
    "shapes": {name: set() for name in SHAPES},
    "patterns": {name: {"noun"} for name in PATTERNS},
    "sizes": {name: set() for name in RADII},
    "positions": {name: set() for name in ZONES},
    "relations": {
        **{name: {"o"} for pair in INVERSE.items() for name in pair},
        "between": {"o", "p"},
    },
    "textures": {name: set() for name in TEXTURES},
    "lights": {name: set() for name in LIGHTS},
    "numbers": {str(count): set() for count in range(OBJECTS[0], OBJECTS[1] + 1)},
    "templates": {
        "opening": {"number", "ground", "texture"},
        "counting": {"number"},
        "background": {"ground", "texture"},
        "introduction": {"a", "where"},
        "related_introduction": {"a", "where", "relation"},
        "relation": {"s", "relation"},
        "colour": {"s", "colour"},
        "size": {"s", "size"},
        "join": {"first", "second"},
    },
}


def load_vocabulary(path: str | Path) -> Vocabulary:
    """Read a vocabulary like scenes.yaml; ``ValueError`` with one sentence if it is none."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        names = [entry.name for entry in fields(Vocabulary)]
        _refuse_other_names("the file", content, names, names)
        return Vocabulary(
            colours=_paints("colours", content["colours"]),
            grounds=_paints("grounds", content["grounds"]),
            **{section: _phrases(section, content[section]) for section in _SECTIONS},
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a vocabulary of scenes: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no vocabulary of scenes: {error}") from None


def _refuse_other_names(
    where: str, content: Any, needed: Sequence[str], allowed: Sequence[str]
) -> None:
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{where} must be a mapping, not {content!r}")
    if missing := [name for name in needed if name not in content]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if unknown := [str(name) for name in content if name not in allowed]:
        raise ValueError(
            f"{where} must not hold {', '.join(unknown)}; valid are {', '.join(allowed)}"
        )


def _phrases(section: str, content: Any) -> Phrases:
    rules = _SECTIONS[section]
    if isinstance(content, dict):
        content = {str(name): phrases for name, phrases in content.items()}
    _refuse_other_names(section, content, [] if section == "shapes" else list(rules), list(rules))
    if len(content) < OBJECTS[1] and section == "shapes":
        raise ValueError(f"shapes must hold at least {OBJECTS[1]} shapes, not {len(content)}")
    for name, phrases in content.items():
        where = f"{section}.{name}"
        if not isinstance(phrases, list) or not phrases:
            raise ValueError(f"{where} must be a list of phrases, not {phrases!r}")
        for phrase in phrases:
            _check_phrase(where, phrase, rules[name])
    return {name: tuple(phrases) for name, phrases in content.items()}


def _check_phrase(where: str, phrase: Any, needed: set[str]) -> None:
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError(f"{where} must hold text, not {phrase!r}")
    try:
        found = {name for _, name, _, _ in Formatter().parse(phrase) if name is not None}
    except ValueError as error:
        raise ValueError(f"{where} has a stray brace in {phrase!r}: {error}") from None
    if found != needed:
        wanted = " and ".join(f"{{{name}}}" for name in sorted(needed)) or "no field in braces"
        raise ValueError(f"{where} must hold {wanted}, which {phrase!r} does not")


def _paints(section: str, content: Any) -> dict[str, RGB]:
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{section} must be a mapping, not {content!r}")
    for name, rgb in content.items():
        levels = rgb if isinstance(rgb, list) and len(rgb) == 3 else [None]
        if not all(type(level) is int and 0 <= level <= 255 for level in levels):
            raise ValueError(
                f"{section}.{name} must be three whole numbers from 0 to 255, not {rgb!r}"
            )
    return {str(name): (rgb[0], rgb[1], rgb[2]) for name, rgb in content.items()}
