"""Recall on validation with other edge branches, cues and losses; the test split is never read.

Run it where `dvc repro` has made the features of a recipe of frozen towers:

    python benchmarks/hypotheses.py --dataset scenes --seeds 0

Every row is a training of the recipe `frozen` with one thing changed. Trainings are kept in
`models/D/trials`, so that a row that has run once costs nothing.

Columns:
    what is trained     and what is changed
    image only          recall at 1 on validation without the edge branch, in percent: the mean of
                        both ways and of all seeds
    fused               the same with the edge branch, at the best α of the recipe
    α                   the weight of the branch in each seed
    edge-text           the loss of the last epoch as a share of the loss of guessing, in percent
    region-chunk        the same
    edge-image          the same; guessing is an embedding that has nothing to do with its image
    CPU s               of a training
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from random_data import project_folder
from script import new_parser, parse, print_header, print_row
from structxlip.config import ArmSettings, Params, load_params
from structxlip.experiments.compare import second_head
from structxlip.experiments.robustness import RECOLOURED
from structxlip.experiments.rows import BOTH_ARMS, Row, plan
from structxlip.experiments.trials import Outcome, Trial, run_trials, trials_of

SMOKE: dict[str, Any] = {"epochs": 2, "rows": ["vanilla", "image_tower, without region-chunk"]}
COLUMNS = (
    *("what is trained", "image only", "fused", "α", "edge-text", "region-chunk", "edge-image"),
    "CPU s",
)
OF_PIXELS = {"size_px": 128, "tower_grid": None}
CANNY, CELLS = {"cue": "canny", **OF_PIXELS}, {"cue": "orientations", **OF_PIXELS}
POOLED = {"region_chunk": {"weight": 0.0}}


def changed(arm: ArmSettings, **changes: Any) -> ArmSettings:
    """The arm with other settings; a section keeps what is not named."""
    content = arm.model_dump()
    for name, value in changes.items():
        content[name] = content[name] | value if isinstance(value, dict) else value
    return ArmSettings.model_validate(content)


def row(edges: Mapping[str, Any] | None = None, **arm: Any) -> Row:
    """A row of a recipe that differs in these settings."""
    return Row("", change=partial(changed, **arm), edges=edges or {})


CNN = {"edge_branch": "cnn", "edge_shift_px": 4}
DESCRIPTOR = {"edge_branch": "descriptor", "edge_shift_px": 4}
AS_BEFORE = {"region_chunk": {"weight": 0.1, "detach": []}}
ROWS = {
    "vanilla": BOTH_ARMS["vanilla"],
    "second head": Row("", view="image", change=second_head),
    "cnn, canny": row(CANNY, **CNN, **AS_BEFORE),
    "cnn, gradient": row({"cue": "gradient", **OF_PIXELS}, **CNN, **AS_BEFORE),
    "descriptor, 16 x 16 cells": row(CELLS, **DESCRIPTOR),
    "descriptor, 8 x 8 cells": row({**CELLS, "cells": 8}, **DESCRIPTOR),
    "descriptor, 32 x 32 cells": row({**CELLS, "cells": 32}, **DESCRIPTOR),
    "descriptor, maps move by 8 px": row(CELLS, edge_branch="descriptor", edge_shift_px=8),
    "image_tower, gradient": BOTH_ARMS["structxlip"],
    "image_tower, canny": row({"cue": "canny"}),
    "image_tower, gradient of 128 px": row({"size_px": 128}),
    "image_tower, without region-chunk": row(**POOLED),
    "image_tower, region-chunk not detached": row(region_chunk={"detach": []}),
    "image_tower, region-chunk of weight 0.1": row(region_chunk={"weight": 0.1}),
    "image_tower, edge-image of weight 0.5": row(edge_image={"weight": 0.5}),
    "image_tower, edge-text detached": row(edge_text={"detach": ["text"]}),
    "vanilla, colours changed": RECOLOURED["vanilla_colours"],
    "structxlip, colours changed": RECOLOURED["structxlip_colours"],
}


@dataclass
class Found:
    """The trainings of a row, one for each seed."""

    image_only: list[float] = field(default_factory=list)
    fused: list[float] = field(default_factory=list)
    alphas: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def add(self, trial: Trial, outcome: Outcome) -> None:
        """Add the training of one seed."""
        batch = trial.run.train.batch_size
        guesses = {"edge_text": math.log(batch), "region_chunk": math.log(batch), "edge_image": 2.0}
        self.image_only.append(outcome.validation_image_only)
        self.fused.append(outcome.validation)
        self.alphas.append(outcome.scorer.alpha)
        self.cpu_s.append(outcome.cpu_s)
        last = outcome.last_epoch
        self.losses.append(
            {
                name: 100 * last[f"{name}_loss"] / guess
                for name, guess in guesses.items()
                if f"{name}_loss" in last
            }
        )

    def cells(self) -> list[str]:
        """The row of the table."""
        shares = [
            f"{statistics.mean(found[name] for found in self.losses):.0f}"
            if name in self.losses[0]
            else ""
            for name in ("edge_text", "region_chunk", "edge_image")
        ]
        return [
            f"{statistics.mean(self.image_only):.1f}",
            f"{statistics.mean(self.fused):.1f}",
            " ".join(f"{alpha:g}" for alpha in self.alphas),
            *shares,
            f"{statistics.mean(self.cpu_s):.0f}",
        ]


def measure(params: Params, dataset: str, names: list[str], seeds: list[int]) -> dict[str, Found]:
    """Print the table; return its figures by row."""
    found: dict[str, Found] = {}
    print_header(*COLUMNS)
    for name in names:
        trials = plan(params, dataset, {name: ROWS[name]}, seeds)
        outcomes = run_trials(trials, trials_of(dataset), f"{dataset}: {name}")
        found[name] = Found()
        for trial, outcome in zip(trials, outcomes, strict=True):
            found[name].add(trial, outcome)
        print_row(name, *found[name].cells())
    return found


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="by default as many as in the recipe")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parse(parser, SMOKE)
    with project_folder(options.smoke) as folder, chdir(folder):
        params = load_params()
        if options.epochs:
            train = params.recipe_settings.train.model_copy(update={"epochs": options.epochs})
            recipe = params.recipe_settings.model_copy(update={"train": train})
            recipes = params.recipes | {params.recipe: recipe}
            params = params.model_copy(update={"recipes": recipes})
        found = measure(params, options.dataset, options.rows, options.seeds)
    if options.json:
        figures = {name: vars(row) for name, row in found.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
