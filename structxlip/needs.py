"""Check data, weights, lexicons and language model of a dataset before the stages start."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from structxlip.config import Captions, Model, Params, Recipe
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA


@dataclass(frozen=True)
class Need:
    """One thing that a stage needs, such as a tower or a lexicon.

    Attributes:
        name: for readers.
        check: tries it, and says what was found; raises ``UserError``, with what to do.
        slow: whether it takes seconds.
    """

    name: str
    check: Callable[[], str]
    slow: bool = False


def needs(params: Params, dataset: str) -> list[Need]:
    """List the needs of a dataset, the quick ones first. ``params`` are those that it follows."""
    recipe, captions = params.recipe_settings, params.caption_settings(dataset)
    model = recipe.model
    towers = ", ".join(dict.fromkeys((model.image_tower, model.text_tower)))
    return [
        Need(f"dataset {dataset}", lambda: _path(params, dataset)),
        Need(f"cue {recipe.edges.cue}", lambda: _cue(recipe)),
        Need(f"lexicons {', '.join(captions.lexicons)}", lambda: _lexicons(captions)),
        Need(f"language model {captions.language_model}", lambda: _language_model(captions)),
        Need(towers, lambda: _towers(model, recipe.edges.tower_grid), slow=True),
    ]


def check_needs(params: Params, dataset: str) -> None:
    """Try what a dataset needs, but for towers by which its features were made already.

    Raises ``UserError`` for the first thing that is missing.
    """
    from structxlip.features.store import StoreSpec

    towers = None
    with suppress(OSError, KeyError, TypeError, ValueError):
        towers = StoreSpec.read(DATA / dataset / "features").encoders
    had = towers == params.recipe_settings.model.encoder_settings()
    for need in needs(params, dataset):
        if not (had and need.slow):
            need.check()


def _path(params: Params, dataset: str) -> str:
    path = params.dataset(dataset).path
    if not Path(path).exists():
        raise UserError(
            f"datasets.{dataset}.path: {path} does not exist; put the data there, or "
            f"`structxlip activate {dataset} --path DIR`"
        )
    return path


def _cue(recipe: Recipe) -> str:
    from structxlip.cues import ConfiguredCue, check_reads

    try:
        cue = ConfiguredCue(recipe.edges)
    except ValueError as error:
        raise UserError(f"edges.cue: {error}", 2) from None
    try:
        check_reads(recipe.arms.structxlip.edge_branch, cue.channels)
    except ValueError as error:
        raise UserError(f"arms.structxlip: {error}", 2) from None
    return f"maps of {cue.blank.shape[-1]} px" if cue.channels == 1 else f"{cue.channels} channels"


def _lexicons(captions: Captions) -> str:
    from structxlip.captions import load_lexicon

    try:
        load_lexicon(captions.lexicons)
    except ValueError as error:
        raise UserError(f"captions: {error}") from None
    return "read"


def _language_model(captions: Captions) -> str:
    from structxlip.captions import language_model_release

    if Path(captions.language_model).is_dir():
        return "a folder"
    try:
        return language_model_release(captions.language_model)
    except ValueError as error:
        raise UserError(f"captions: {error}") from None


def _towers(model: Model, grid: int | None) -> str:
    """Construct the towers with their weights."""
    from structxlip.models.towers import ImageTower, load_encoders

    images, _ = load_encoders(**model.encoder_settings())
    if grid and isinstance(images, ImageTower):
        images.encode_patches([np.zeros((8, 8, 3), np.uint8)], grid)
    return "constructed, with weights" if model.frozen else "constructed; all of it is trained"
