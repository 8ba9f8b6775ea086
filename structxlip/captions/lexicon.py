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
        places: the words of space in ``keep``; as nouns they make prepositions: "in front of".
        drop: colours, materials and textures; includes ``colours``.
        colours: names of colours.
        shades: words that belong to the colour right after them, such as "deep" in "deep red".
        bound: words that belong to the word right before them, such as "haired" in "long haired".
        carriers: verbs that are removed with their complement, such as "made" in "made of wood".
        terms: names that stay whole whatever their words are, each as its words: "gray matter".
        keeps_unlisted: whether adjectives and adverbs that no list names stay.
    """

    keep: frozenset[str]
    places: frozenset[str]
    drop: frozenset[str]
    colours: frozenset[str]
    shades: frozenset[str]
    bound: frozenset[str]
    carriers: frozenset[str]
    terms: frozenset[tuple[str, ...]]
    keeps_unlisted: bool


def load_lexicon(names: Sequence[str | Path]) -> Lexicon:
    """Read several lexicons and join them into one.

    The last lexicon that has the key ``unlisted`` says what happens to adjectives and adverbs that
    no list names. Where none has it, they are removed.

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
        places=frozenset(word for file in files for word in file["keep"].get("spatial", [])),
        drop=drop,
        colours=frozenset(word for file in files for word in file["drop"].get("colour", [])),
        shades=frozenset(word for file in files for word in file["shades"]),
        bound=frozenset(word for file in files for word in file["bound"]),
        carriers=frozenset(word for file in files for word in file["carriers"]),
        terms=frozenset(tuple(term.lower().split()) for file in files for term in file["terms"]),
        keeps_unlisted=[f["unlisted"] for f in files if f["unlisted"]][-1:] == ["keep"],
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
    default: dict = {"keep": {}, "drop": {}}
    default |= {"unlisted": ""} | {key: [] for key in ("shades", "bound", "carriers", "terms")}
    if not isinstance(content, dict) or not content.keys() <= default.keys():
        raise ValueError(f"the lexicon {path} must have the keys {', '.join(default)}, or some")
    file = default | content
    if not all(
        isinstance(file[key], type(default[key]))
        and all(isinstance(word, str) for word in _all_words(file[key]))
        for key in default
    ):
        raise ValueError(f"the lexicon {path} must hold lists of words (quote `on` and `off`)")
    if file["unlisted"] not in ("", "keep", "drop"):
        raise ValueError(f"the lexicon {path} must say `unlisted: keep` or `unlisted: drop`")
    return file


def _all_words(words: str | list[str] | dict[str, list[str]]) -> list[str]:
    """The words of a list, or of all lists of a mapping; a word alone as a list."""
    if not isinstance(words, dict):
        return [words] if isinstance(words, str) else words
    return [word for group in words.values() for word in group]
