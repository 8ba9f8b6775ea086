"""`structxlip compare`: StructXLIP beside vanilla and beside controls without structure.

A gain over vanilla may come from anything that the second branch adds. It is structure's only where
it exceeds every control.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from structxlip.config import Arm, Params
from structxlip.evaluation.protocol import Embeddings
from structxlip.evaluation.retrieval import WAYS, Ranks
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.experiments.tables import CACHE, pictures_key, publish
from structxlip.experiments.trials import Outcome, Trial, run_trials
from structxlip.features.grey_pictures import write_grey_pictures
from structxlip.features.views import ViewName
from structxlip.incremental.artifacts import DATA, MODELS
from structxlip.reports.comparison import gain_text
from structxlip.training.run import TrainingRun

TRIALS = "trials"
VANILLA, METHOD = "vanilla", "structxlip"


@dataclass(frozen=True)
class Row:
    """A row of the table: what is trained, and what its second branch reads."""

    label: str
    arm: Arm
    view: ViewName = "edges"


ROWS = {
    VANILLA: Row("vanilla fine-tuning", "vanilla"),
    METHOD: Row("StructXLIP", "structxlip"),
    "other_edges": Row("control: edge maps of other images", "structxlip", "other_edges"),
    "grey": Row("control: the grey picture, read by the same branch", "structxlip", "grey"),
    "image": Row("control: a second head on the image features", "structxlip", "image"),
}
IMAGE_ONLY, AVERAGED = "structxlip_image_only", "two_vanilla"
LABELS = {name: row.label for name, row in ROWS.items()} | {
    IMAGE_ONLY: "StructXLIP, image only",
    AVERAGED: "control: two vanilla models averaged",
}
CONTROLS = ("other_edges", "grey", "image", AVERAGED)


def compare(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Train all rows with every seed, write ``compare.json`` and ``compare.md``, and log them.

    They lie in ``reports/<dataset>``, and the trained models in ``models/<dataset>/trials``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    trials = planned_trials(params, dataset, seeds)
    outcomes = run_trials(trials, MODELS / dataset / TRIALS, f"compare {dataset}")
    by_row: dict[str, list[Outcome]] = {}
    for trial, outcome in zip(trials, outcomes, strict=True):
        by_row.setdefault(trial.row, []).append(outcome)
    samples = params.recipe_settings.evaluation.bootstrap_samples
    found: dict[str, Any] = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds)}
    found |= compared(by_row, samples=samples, seed=params.seed)
    publish("compare", params, found, table=markdown(found), verdict=found["verdict"])


def planned_trials(params: Params, dataset: str, seeds: Sequence[int]) -> list[Trial]:
    """One trial for each row that the recipe allows, and each seed."""
    data = (DATA / dataset).resolve()
    recipe = params.recipe_settings
    key = f"{pictures_key(data / 'pairs')}-{recipe.edges.size_px}-{recipe.edges.blur_sigma:g}"
    grey = (CACHE / dataset / f"grey-{key}.npy").resolve()
    write_grey_pictures(data / "pairs", grey, recipe.edges)
    return [
        Trial(
            name,
            TrainingRun(
                changed.model_copy(update={"seed": seed}),
                row.arm,
                data / "features",
                data / "edges",
                row.view,
                grey if row.view == "grey" else None,
            ),
        )
        for name, row in ROWS.items()
        if row.view != "image" or recipe.model.frozen
        for changed in [_second_head(params) if row.view == "image" else params]
        for seed in seeds
    ]


def _second_head(params: Params) -> Params:
    """Parameters for the control `image`: its branch learns as the first head does, and no loss
    draws the two heads together, which would take away what averaging them gains."""
    arm = params.recipe_settings.arms.structxlip
    changed = {"edge_text": arm.edge_text or 0.5, "region_chunk": 0.0, "edge_image": 0.0}
    settings = arm.model_copy(update=changed | {"edge_shift_px": 0, "extra_losses": {}})
    arms = params.recipe_settings.arms.model_copy(update={"structxlip": settings})
    recipe = params.recipe_settings.model_copy(update={"arms": arms})
    return params.model_copy(update={"recipes": params.recipes | {params.recipe: recipe}})


def compared(by_row: dict[str, list[Outcome]], *, samples: int, seed: int) -> dict[str, Any]:
    """The content of ``compare.json``: recalls, gains with their intervals, and a verdict.

    Args:
        by_row: the outcomes of each row, one for each seed.
        samples: resamplings of the test images.
        seed: of the resamplings.
    """
    tests = {name: [outcome.fused for outcome in found] for name, found in by_row.items()}
    tests[IMAGE_ONLY] = [outcome.image_only for outcome in by_row[METHOD]]
    if len(tests[VANILLA]) > 1:
        neighbours = [*tests[VANILLA][1:], tests[VANILLA][0]]
        tests[AVERAGED] = list(map(averaged, tests[VANILLA], neighbours))
    ranks = {name: [test.ranks() for test in found] for name, found in tests.items()}
    captions = tests[VANILLA][0].text_to_image

    def gain(name: str, over: str) -> dict[str, float]:
        delta = bootstrap_delta(ranks[over], ranks[name], captions, samples=samples, seed=seed)
        return delta["R@1"]

    rows = {name: _recalls(found) for name, found in ranks.items()}
    for name, row in rows.items():
        if name in by_row:
            row["alpha"] = [outcome.alpha for outcome in by_row[name]]
        if name != VANILLA:
            row["over_vanilla"] = gain(name, VANILLA)
        if name in CONTROLS:
            row["structxlip_over"] = gain(METHOD, name)
    found = {"test_pairs": len(tests[VANILLA][0].images), "rows": rows}
    return found | {"verdict": verdict(rows)}


def averaged(one: Embeddings, other: Embeddings) -> Embeddings:
    """Embeddings whose inner products are the means of those of two models."""

    def joined(a: Any, b: Any) -> Any:
        return np.concatenate([a, b], axis=1) / np.sqrt(2)

    return replace(
        one, images=joined(one.images, other.images), texts=joined(one.texts, other.texts)
    )


def _recalls(seeds: Sequence[Ranks]) -> dict[str, Any]:
    """The mean and the standard deviation over seeds of R@1, each way and of both."""
    recalls = [ranks.recall((1,)) for ranks in seeds]
    values = {f"{way}/R@1": [found[f"{way}/R@1"] for found in recalls] for way in WAYS}
    values["R@1"] = [mean_recall(found) for found in recalls]
    return {
        name: {
            "mean": statistics.mean(found),
            "deviation": statistics.stdev(found) if len(found) > 1 else None,
        }
        for name, found in values.items()
    }


def verdict(rows: dict[str, Any]) -> str:
    """One sentence: whether StructXLIP gains, and whether the gain is structure's."""
    over_vanilla = rows[METHOD]["over_vanilla"]
    shown = f"{gain_text(over_vanilla, 'points of R@1')} over vanilla"
    if over_vanilla["high"] < 0:
        return f"StructXLIP is worse than vanilla: {shown}"
    if over_vanilla["low"] <= 0:
        return f"no difference is shown: {shown}"
    equals = [
        name for name in CONTROLS if name in rows and rows[name]["structxlip_over"]["low"] <= 0
    ]
    if equals:
        names = ", ".join(LABELS[name].removeprefix("control: ") for name in equals)
        return f"{shown}; not shown to be structure's, because it does not exceed: {names}"
    return f"{shown}, and over every control: the gain is structure's"


def markdown(found: dict[str, Any]) -> str:
    """The tables of ``compare.json`` as Markdown."""
    seeds = ", ".join(map(str, found["seeds"]))
    lines = [
        f"Dataset `{found['dataset']}`, recipe `{found['recipe']}`, seeds {seeds}, "
        f"{found['test_pairs']} test images. R@1 in percent, mean ± standard deviation over seeds; "
        f"gains in points with their 95 % bootstrap interval.",
        "",
        "| model | I→T R@1 | T→I R@1 | α | gain over vanilla | StructXLIP's gain over it |",
        "|---|---|---|---|---|---|",
    ]
    for name, label in LABELS.items():
        if name not in found["rows"]:
            continue
        row = found["rows"][name]
        recalls = [_spread(row[f"{way}/R@1"]) for way in WAYS]
        alphas = ", ".join(f"{alpha:g}" for alpha in dict.fromkeys(row.get("alpha", [])))
        gains = [
            gain_text(row[key]) if key in row else "" for key in ("over_vanilla", "structxlip_over")
        ]
        lines.append("| " + " | ".join([label, *recalls, alphas, *gains]) + " |")
    return "\n".join([*lines, "", found["verdict"][:1].upper() + found["verdict"][1:] + ".", ""])


def _spread(value: dict[str, Any]) -> str:
    deviation = value["deviation"]
    return f"{value['mean']:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")
