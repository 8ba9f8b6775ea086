"""The vocabulary of scenes: the names of everything that can be drawn, and phrases for them."""

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
    """The content of a file like scenes.yaml.

    ``colours`` and ``grounds`` map names to RGB, each channel from 0 to 255. All other sections map
    names to phrases; a caption picks one phrase of a name at random.
    """

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


# For each section its names, and for each name the fields in braces that its phrases must have.
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
    """Read a vocabulary from a file like scenes.yaml.

    Raises ``ValueError`` with one sentence for a file that cannot be read or has another layout.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        names = [entry.name for entry in fields(Vocabulary)]
        _check_names("the file", content, names, names)
        return Vocabulary(
            colours=_colours("colours", content["colours"]),
            grounds=_colours("grounds", content["grounds"]),
            **{section: _phrases(section, content[section]) for section in _SECTIONS},
        )
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} cannot be read as a vocabulary of scenes: {reason}") from error
    except ValueError as error:
        raise ValueError(f"{path} is no vocabulary of scenes: {error}") from None


def _check_names(where: str, content: Any, required: Sequence[str], allowed: Sequence[str]) -> None:
    """Raise ``ValueError`` unless ``content`` maps all required names, and only allowed ones."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{where} must be a mapping, not {content!r}")
    if missing := [name for name in required if name not in content]:
        raise ValueError(f"{where} lacks {', '.join(missing)}")
    if unknown := [str(name) for name in content if name not in allowed]:
        raise ValueError(
            f"{where} must not hold {', '.join(unknown)}; valid are {', '.join(allowed)}"
        )


def _phrases(section: str, content: Any) -> Phrases:
    """Check the phrases of a section."""
    fields_of_name = _SECTIONS[section]
    if isinstance(content, dict):
        content = {str(name): phrases for name, phrases in content.items()}
    allowed = list(fields_of_name)
    _check_names(section, content, [] if section == "shapes" else allowed, allowed)
    if len(content) < OBJECTS[1] and section == "shapes":
        raise ValueError(f"shapes must hold at least {OBJECTS[1]} shapes, not {len(content)}")
    for name, phrases in content.items():
        where = f"{section}.{name}"
        if not isinstance(phrases, list) or not phrases:
            raise ValueError(f"{where} must be a list of phrases, not {phrases!r}")
        for phrase in phrases:
            _check_phrase(where, phrase, fields_of_name[name])
    return {name: tuple(phrases) for name, phrases in content.items()}


def _check_phrase(where: str, phrase: Any, required: set[str]) -> None:
    """Raise ``ValueError`` unless a phrase has exactly the required fields in braces."""
    if not isinstance(phrase, str) or not phrase.strip():
        raise ValueError(f"{where} must hold text, not {phrase!r}")
    try:
        found = {name for _, name, _, _ in Formatter().parse(phrase) if name is not None}
    except ValueError as error:
        raise ValueError(f"{where} has a stray brace in {phrase!r}: {error}") from None
    if found != required:
        wanted = " and ".join(f"{{{name}}}" for name in sorted(required)) or "no field in braces"
        raise ValueError(f"{where} must hold {wanted}, which {phrase!r} does not")


def _colours(section: str, content: Any) -> dict[str, RGB]:
    """Check the colours of a section."""
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{section} must be a mapping, not {content!r}")
    for name, rgb in content.items():
        channels = rgb if isinstance(rgb, list) and len(rgb) == 3 else [None]
        if not all(type(value) is int and 0 <= value <= 255 for value in channels):
            raise ValueError(
                f"{section}.{name} must be three whole numbers from 0 to 255, not {rgb!r}"
            )
    return {str(name): (rgb[0], rgb[1], rgb[2]) for name, rgb in content.items()}
