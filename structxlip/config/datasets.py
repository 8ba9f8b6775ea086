"""Entries under `datasets:`: what all kinds share, and how the settings of a kind are found.

A kind is a file of ``structxlip/data/sources``. The file ``coco.py`` is the kind `coco`: it holds
its settings, a subclass of ``DatasetEntry``, and the function ``open_coco``. A new kind is a new
file.
"""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, SerializeAsAny, WrapValidator
from pydantic_core import PydanticCustomError

from structxlip.config.section import Section

SOURCES = "structxlip.data.sources"
_NO_KINDS = {"__init__", "base"}  # files of that folder


class DatasetEntry(Section):
    """The keys that entries of all kinds share. All other paths are relative to ``path``."""

    kind: str = Field(description="The layout of the files; `structxlip sources` lists all kinds.")
    path: str = Field(
        description="The folder or file that holds the data. DVC ingests again when it changes."
    )
    lexicons: list[str] = Field(
        default_factory=list,
        description="Word lists of this dataset's domain, in addition to those of the recipe.",
    )
    html: bool = Field(False, description="Whether captions are HTML, which becomes text.")
    recipe: str | None = Field(
        None,
        description="The recipe that this dataset follows, an entry of `recipes`. null: the one "
        "that the whole file selects.",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="What is different for this dataset alone: sections of a recipe, and `ingest`, "
        "such as `{train: {epochs: 20}, ingest: {near_duplicates: keep}}`.",
    )
    roots: list[str] = Field(
        default_factory=list,
        description="Further folders where links among the images may lead, such as "
        "`/data/.dvc/cache`. A link to another place is refused.",
    )

    @property
    def link_roots(self) -> tuple[str, ...]:
        """The folders where links among the images may lead."""
        return (self.path, *(str(Path(self.path) / root) for root in self.roots))


def dataset_kinds() -> list[str]:
    """The names of all kinds, in order."""
    folder = Path(__file__).parents[1] / "data" / "sources"
    return sorted({file.stem for file in folder.glob("*.py")} - _NO_KINDS)


@cache
def entry_class(kind: str) -> type[DatasetEntry]:
    """The settings of a kind; ``kind`` is one of ``dataset_kinds()``."""
    module = import_module(f"{SOURCES}.{kind}")
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, DatasetEntry)
        and value.__module__ == module.__name__
    ]
    assert len(found) == 1, f"{module.__name__} must define one subclass of DatasetEntry"
    return found[0]


def _validate_entry(value: Any, handler: Any) -> DatasetEntry:
    """Validate an entry by the settings of its kind."""
    if isinstance(value, DatasetEntry):
        return value
    if not isinstance(value, dict):
        entry: DatasetEntry = handler(value)  # raises: an entry must be a mapping
        return entry
    kinds = dataset_kinds()
    kind = value.get("kind")
    if kind is None:
        raise PydanticCustomError("kind_missing", "{valid}", {"valid": ", ".join(kinds)})
    if kind not in kinds:
        close = difflib.get_close_matches(str(kind), kinds, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"valid are: {', '.join(kinds)}"
        raise PydanticCustomError(
            "kind_unknown", "unknown kind {kind}; {hint}", {"kind": repr(kind), "hint": hint}
        )
    return entry_class(kind).model_validate(value)


Dataset = Annotated[SerializeAsAny[DatasetEntry], WrapValidator(_validate_entry)]
