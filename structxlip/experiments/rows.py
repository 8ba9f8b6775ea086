"""The rows of a table of trials: what is trained in each, and what it is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from structxlip.config import Arm, ArmSettings, Params
from structxlip.experiments.tables import CACHE, pictures_key
from structxlip.experiments.trials import Trial
from structxlip.features.grey_pictures import write_grey_pictures
from structxlip.features.views import ViewName
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.row_cache import signature
from structxlip.stages.edges import make_edges
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
        cue: of the edge maps; None is that of the recipe.
        train_share: of the training pairs.
    """

    label: str
    arm: Arm = "structxlip"
    view: ViewName = "edges"
    change: Callable[[ArmSettings], ArmSettings] = unchanged
    cue: str | None = None
    train_share: float = 1.0


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
        edges = data / "edges" if row.cue is None else _edges_of(params, dataset, row.cue)
        grey = _grey_pictures(params, dataset) if row.view == "grey" else None
        planned += [
            Trial(
                name,
                TrainingRun(
                    _changed(params, row, seed),
                    row.arm,
                    data / "features",
                    edges,
                    row.view,
                    grey,
                    row.train_share,
                ),
            )
            for seed in seeds
        ]
    return planned


def _changed(params: Params, row: Row, seed: int) -> Params:
    """The parameters of a trial."""
    recipe = params.recipe_settings
    changes = {"structxlip": row.change(recipe.arms.structxlip)}
    changed = recipe.model_copy(update={"arms": recipe.arms.model_copy(update=changes)})
    recipes = params.recipes | {params.recipe: changed}
    return params.model_copy(update={"seed": seed, "recipes": recipes})


def _grey_pictures(params: Params, dataset: str) -> Path:
    pairs, settings = (DATA / dataset / "pairs").resolve(), params.recipe_settings.edges
    key = signature(pictures_key(pairs), f"{settings.size_px} {settings.blur_sigma:g}")
    grey = (CACHE / dataset / f"grey-{key}.npy").resolve()
    write_grey_pictures(pairs, grey, settings)
    return grey


def _edges_of(params: Params, dataset: str, cue: str) -> Path:
    """The edge maps of another cue, with the other settings of the recipe."""
    changes = {"cue": cue, "low": None, "high": None}  # thresholds are in units of a detector
    settings = params.recipe_settings.edges.model_copy(update=changes)
    folder = (CACHE / dataset / f"edges-{cue}").resolve()
    make_edges(settings, dataset, params.ingest.max_bad_fraction, folder)
    return folder
