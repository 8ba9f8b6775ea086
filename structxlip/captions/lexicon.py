"""Words that a tagger cannot sort by itself: what is structure, and what is only looks."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

_LEXICONS = Path(__file__).parent / "lexicons"


@dataclass(frozen=True)
class Lexicon:
    """Words, as lemmas or forms in lower case, that a tagger cannot sort by itself."""

    keep: frozenset[str]  # adjectives and adverbs of space, shape, size and quantity
    drop: frozenset[str]  # colours, materials and textures; holds `colours`
    colours: frozenset[str]
    shades: frozenset[str]  # belong to the colour right after them: "deep red"
    carriers: frozenset[str]  # verbs that go with their complement: "made of wood"


def load_lexicon(names: Sequence[str | Path]) -> Lexicon:
    """The union of lexicons, each the name of a packaged one or the path of a YAML file.

    Raises ``ValueError`` for a name that is not packaged, with the nearest that is, for a file
    without the layout of ``lexicons/general.yaml``, and for a word that is both kept and dropped.
    """
    files = [_read_lexicon(name) for name in names]
    keep = frozenset(word for file in files for word in _flat(file["keep"]))
    drop = frozenset(word for file in files for word in _flat(file["drop"]))
    if keep & drop:
        raise ValueError(f"lexicons both keep and drop: {', '.join(sorted(keep & drop))}")
    return Lexicon(
        keep=keep,
        drop=drop,
        colours=frozenset(word for file in files for word in file["drop"].get("colour", [])),
        shades=frozenset(word for file in files for word in file["shades"]),
        carriers=frozenset(word for file in files for word in file["carriers"]),
    )


def _read_lexicon(name: str | Path) -> dict:
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        packaged = sorted(file.stem for file in _LEXICONS.glob("*.yaml"))
        if str(name) not in packaged:
            close = difflib.get_close_matches(str(name), packaged, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(packaged)}"
            raise ValueError(f"unknown lexicon {str(name)!r}; {hint}")
        path = _LEXICONS / f"{name}.yaml"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the lexicon {path} cannot be read: {error}") from error
    default: dict = {"keep": {}, "drop": {}, "shades": [], "carriers": []}
    if not isinstance(content, dict) or not content.keys() <= default.keys():
        raise ValueError(f"the lexicon {path} must have the keys {', '.join(default)}, or some")
    file = default | content
    if not all(
        isinstance(file[key], type(default[key]))
        and all(isinstance(word, str) for word in _flat(file[key]))
        for key in default
    ):
        raise ValueError(f"the lexicon {path} must hold lists of words (quote `on` and `off`)")
    return file


def _flat(words: list[str] | dict[str, list[str]]) -> list[str]:
    if isinstance(words, list):
        return words
    return [word for group in words.values() for word in group]
