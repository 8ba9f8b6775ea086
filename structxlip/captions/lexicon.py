"""Lexicons: lists of the words that describe structure and of those that describe appearance."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

_LEXICONS = Path(__file__).parent / "lexicons"


@dataclass(frozen=True)
class Lexicon:
    """Lists of words for decisions that a part-of-speech tagger cannot make.

    A word is listed as a form or as a lemma, in lower case.

    Attributes:
        keep: adjectives and adverbs of space, shape, size and quantity.
        drop: colours, materials and textures; includes ``colours``.
        colours: names of colours.
        shades: words that belong to the colour right after them, such as "deep" in "deep red".
        carriers: verbs that are removed with their complement, such as "made" in "made of wood".
    """

    keep: frozenset[str]
    drop: frozenset[str]
    colours: frozenset[str]
    shades: frozenset[str]
    carriers: frozenset[str]


def load_lexicon(names: Sequence[str | Path]) -> Lexicon:
    """Read several lexicons and join them into one.

    Args:
        names: names of packaged lexicons, such as ``general``, or paths of YAML files with the
            layout of ``lexicons/general.yaml``.

    Raises:
        ValueError: an unknown name (the message proposes the closest one), a file with another
            layout, or a word that is both in ``keep`` and in ``drop``.
    """
    files = [_read_lexicon(name) for name in names]
    keep = frozenset(word for file in files for word in _all_words(file["keep"]))
    drop = frozenset(word for file in files for word in _all_words(file["drop"]))
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
        and all(isinstance(word, str) for word in _all_words(file[key]))
        for key in default
    ):
        raise ValueError(f"the lexicon {path} must hold lists of words (quote `on` and `off`)")
    return file


def _all_words(words: list[str] | dict[str, list[str]]) -> list[str]:
    """The words of a list, or of all lists of a mapping."""
    if isinstance(words, list):
        return words
    return [word for group in words.values() for word in group]
