"""Kinds of towers, one file each: the tower ``KIND:NAME`` comes from ``KIND.py``.

Such a file has ``image_tower(name, image_px, max_tokens)``, ``text_tower(name, max_tokens)``, or
both; ``name`` is the whole ``KIND:NAME``. A new kind is a new file.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from structxlip.errors import UserError
from structxlip.models.towers.image import ImageTower
from structxlip.models.towers.text import TextTower


def tower_kinds() -> list[str]:
    """The names of all kinds, in order."""
    return sorted({file.stem for file in Path(__file__).parent.glob("*.py")} - {"__init__"})


def load_image_tower(name: str, image_px: int, max_tokens: int | None = None) -> ImageTower:
    """A frozen image tower by its name ``KIND:NAME``.

    ``max_tokens`` belongs to the text tower, which may share a CLIP with this one. Raises
    ``UserError`` with what to do when the tower cannot be had.
    """
    tower: ImageTower = _loader(name, "image_tower")(name, image_px, max_tokens)
    return tower


def load_text_tower(name: str, max_tokens: int | None = None) -> TextTower:
    """A frozen text tower by its name ``KIND:NAME``, for ``max_tokens`` tokens (None: all).

    Raises ``UserError`` with what to do when the tower cannot be had, or reads fewer tokens.
    """
    tower: TextTower = _loader(name, "text_tower")(name, max_tokens)
    return tower


def _loader(name: str, function: str) -> Any:
    kind = name.partition(":")[0]
    modules = {known: import_module(f"{__name__}.{known}") for known in tower_kinds()}
    valid = [known for known, module in modules.items() if hasattr(module, function)]
    if kind not in valid:
        side = function.partition("_")[0]
        raise UserError(f"no {side} tower of kind {kind!r}; valid are: {', '.join(valid)}", 2)
    return getattr(modules[kind], function)
