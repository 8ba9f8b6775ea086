"""The rows of a table of trials: what is trained in each, and what it is trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from structxlip.config import Arm, ArmSettings, Params
from structxlip.data.shards import shards
from structxlip.experiments.tables import CACHE, pictures_key
from structxlip.experiments.trials import Trial
from structxlip.features.grey_pictures import write_grey_pictures
from structxlip.features.views import ViewName
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.row_cache import signature
from structxlip.stages.edge_features import write_edge_features, write_picture_features
from structxlip.stages.edges import make_edges
from structxlip.stages.features import features
from structxlip.training.run import TrainingRun

VANILLA, METHOD = "vanilla", "structxlip"


def unchanged(arm: ArmSettings) -> ArmSettings:
    """The arm as it is."""
    return arm


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: for readers.
        arm: what is trained.
        view: the input of the second branch.
        change: how the settings of the arm StructXLIP differ from those of the recipe.
        edges: how the settings of the edge maps differ from those of the recipe.
        train_share: of the training pairs.
        colour_copies: of each training picture, beside those of the recipe.
    """

    label: str
    arm: Arm = "structxlip"
    view: ViewName = "edges"
    change: Callable[[ArmSettings], ArmSettings] = unchanged
    edges: Mapping[str, Any] = field(default_factory=dict)
    train_share: float = 1.0
    colour_copies: int = 0


BOTH_ARMS = {VANILLA: Row("vanilla fine-tuning", "vanilla"), METHOD: Row("StructXLIP")}


def plan(
    params: Params, dataset: str, rows: Mapping[str, Row], seeds: Sequence[int]
) -> list[Trial]:
    """One trial for each row and seed. What rows read beside the artifacts is made first.

    Raises ``UserError`` for a cue that cannot be had.
    """
    data = (DATA / dataset).resolve()
    planned = []
    for name, row in rows.items():
        changed = [_changed(params, row, seed) for seed in seeds]
        edges, edge_features = data / "edges", data / "edge_features"
        if row.edges:
            edges, edge_features = _edges_of(changed[0], dataset, row.edges)
        store = _recoloured(changed[0], dataset) if row.colour_copies else data / "features"
        pictures = _pictures(changed[0], dataset, row.view)
        planned += [
            Trial(
                name,
                TrainingRun(
                    of_seed,
                    row.arm,
                    store,
                    edges,
                    edge_features,
                    row.view,
                    pictures,
                    row.train_share,
                ),
            )
            for of_seed in changed
        ]
    return planned


def _changed(params: Params, row: Row, seed: int) -> Params:
    """The parameters of a trial."""
    recipe = params.recipe_settings
    arms = {"structxlip": row.change(recipe.arms.structxlip)}
    thresholds = {"low": None, "high": None} if "cue" in row.edges else {}  # in units of a detector
    edges = recipe.edges.model_copy(update=thresholds | dict(row.edges))
    copies = recipe.model.colour_copies + row.colour_copies
    changed = recipe.model_copy(
        update={
            "arms": recipe.arms.model_copy(update=arms),
            "edges": edges,
            "model": recipe.model.model_copy(update={"colour_copies": copies}),
        }
    )
    recipes = params.recipes | {params.recipe: changed}
    return params.model_copy(update={"seed": seed, "recipes": recipes})


def _pictures(params: Params, dataset: str, view: ViewName) -> Path | None:
    """Make the pictures that the controls `grey` and `image` read in the place of edge maps; the
    path of what was made, or None where the view reads none. See ``open_view``."""
    if view not in ("grey", "image"):
        return None
    pairs, settings = (DATA / dataset / "pairs").resolve(), params.recipe_settings.edges
    key = signature(pictures_key(pairs), f"{settings.size_px} {settings.blur_sigma:g}")
    if params.recipe_settings.reads_with_tower:
        encoder = json.dumps(params.recipe_settings.model.encoder_settings())
        key = signature(key, f"{encoder} {settings.tower_grid}")
        features = (CACHE / dataset / f"{view}-features-{key}").resolve()
        write_picture_features(params, dataset, features, grey=view == "grey")
        return features
    if view == "image":
        return None
    grey = (CACHE / dataset / f"grey-{key}.npy").resolve()
    write_grey_pictures(pairs, grey, settings)
    return grey


def _recoloured(changed: Params, dataset: str) -> Path:
    """Make the feature store with copies of the training pictures in other colours; its folder."""
    data, settings = (DATA / dataset).resolve(), changed.recipe_settings.model.feature_settings()
    key = signature(pictures_key(data / "pairs"), json.dumps(settings), *shards(data / "captions"))
    folder = (CACHE / dataset / f"features-{key}").resolve()
    if not folder.exists():
        features(changed, dataset, folder)
    return folder


def _edges_of(changed: Params, dataset: str, changes: Mapping[str, Any]) -> tuple[Path, Path]:
    """The folder of the edge maps of changed settings, and that of what a frozen tower makes of
    them, where the edge branch reads it."""
    key = "-".join(f"{name}-{value}" for name, value in sorted(changes.items()))
    folder = (CACHE / dataset / f"edges-{key}").resolve()
    make_edges(changed.recipe_settings.edges, dataset, changed.ingest.max_bad_fraction, folder)
    features = folder.with_name(f"edge-features-{key}")
    if changed.recipe_settings.reads_with_tower:
        write_edge_features(changed, dataset, folder, features)
    return folder, features
