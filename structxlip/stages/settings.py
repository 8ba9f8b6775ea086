"""Stage `settings`: what a dataset follows, section by section, `data/<dataset>/settings`.

It also tries what the stages will need, so that a tower that cannot be had is told now.

The other stages depend on these files, so that each runs again when a value changes that it reads,
wherever the value comes from: the recipe of the dataset, one that this is like, or the overrides.
"""

from __future__ import annotations

import json
from typing import Any

from structxlip.config import Params
from structxlip.incremental.artifacts import DATA, atomic_directory
from structxlip.needs import check_needs
from structxlip.progress import say


def settings(params: Params, dataset: str) -> None:
    """Try what a dataset needs, then write the sections that it follows.

    Raises ``UserError`` for what is missing.
    """
    check_needs(params, dataset)
    write_sections(params, dataset)
    say(f"settings {dataset}: it follows the recipe {params.recipe}")


def write_sections(params: Params, dataset: str) -> None:
    """Write the sections that a dataset follows, one file each."""
    with atomic_directory(DATA / dataset / "settings") as directory:
        for name, section in sections(params, dataset).items():
            (directory / f"{name}.json").write_text(json.dumps(section, indent=2) + "\n")


def sections(params: Params, dataset: str) -> dict[str, Any]:
    """The sections by name. What changes only how a value is found stands in none of them."""
    recipe, own = params.recipe_settings, {"lexicons", "recipe", "overrides"}
    return {
        "ingest": params.ingest.model_dump()
        | recipe.captions.of_ingestion()
        | {"entry": params.dataset(dataset).model_dump(exclude=own, exclude_unset=True)},
        "edges": recipe.edges.model_dump(),
        "captions": params.caption_settings(dataset).of_parsing(),
        "towers": recipe.model.encoder_settings(),
        "features": recipe.model.feature_settings(),
        "model": recipe.model.model_dump(),
        "train": recipe.train.model_dump(),
        "vanilla": recipe.arm_settings("vanilla").model_dump(),
        "structxlip": recipe.arm_settings("structxlip").model_dump(),
        "evaluation": recipe.evaluation.model_dump(),
    }
