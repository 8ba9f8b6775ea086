"""`structxlip compare`: StructXLIP beside vanilla and beside controls without structure.

A gain over vanilla may come from anything that the second branch adds. It is structure's only where
it exceeds every control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from structxlip.config import ArmSettings, Params
from structxlip.evaluation.embedding import Embeddings
from structxlip.evaluation.retrieval import WAYS
from structxlip.evaluation.statistics import bootstrap_delta
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, Row, plan
from structxlip.experiments.summary import (
    about,
    by_row,
    mean_and_deviation,
    recalls,
    spread,
)
from structxlip.experiments.tables import Table, publish
from structxlip.experiments.trials import Outcome, Trial, run_trials, trials_of
from structxlip.reports.comparison import gain_text
from structxlip.reports.pictures import WIDE, draw_gains, figure


def second_head(arm: ArmSettings) -> ArmSettings:
    """The arm of the control `image`: its branch learns as the first head does, and no loss draws
    the two heads together, which would take away what averaging them gains."""
    weights = {"edge_text": arm.edge_text.weight or 0.5, "edge_image": 0.0}
    if arm.edge_branch != "image_tower":  # one vector of an image has no patches
        weights["region_chunk"] = 0.0
    return arm.with_weights(**weights).model_copy(update={"edge_shift_px": 0, "extra_losses": {}})


def by_pixels(arm: ArmSettings) -> ArmSettings:
    """The arm of the control `grey`: a branch that reads pixels where the arm's own reads cells."""
    branch = "cnn" if arm.edge_branch == "descriptor" else arm.edge_branch
    return arm.model_copy(update={"edge_branch": branch})


ROWS = BOTH_ARMS | {
    "other_edges": Row("control: edge maps of other images", view="other_edges"),
    "grey": Row(
        "control: the grey picture in the place of the edge map", view="grey", change=by_pixels
    ),
    "image": Row(
        "control: a second branch that reads the image once more", view="image", change=second_head
    ),
}
IMAGE_ONLY, FUSED, AVERAGED = "structxlip_image_only", "structxlip_fused", "two_vanilla"
LABELS = {name: row.label for name, row in ROWS.items()} | {
    IMAGE_ONLY: "StructXLIP, image only",
    FUSED: "StructXLIP, not reranked",
    AVERAGED: "control: two vanilla models averaged",
}
CONTROLS = ("other_edges", "grey", "image", AVERAGED)


def compare(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Train all rows with every seed, and publish ``compare``.

    The trained models lie in ``models/<dataset>/trials``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    trials = planned_trials(params, dataset, seeds)
    outcomes = run_trials(trials, trials_of(dataset), f"compare {dataset}")
    samples = params.recipe_settings.evaluation.bootstrap_samples
    found = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds)} | compared(
        by_row(trials, outcomes), samples=samples, seed=params.seed
    )
    gains = {
        LABELS[name]: row["over_vanilla"]
        for name, row in found["rows"].items()
        if "over_vanilla" in row
    }
    drawn = figure(
        lambda axes: draw_gains(axes[0], gains, "gain over vanilla, points of R@1"), 1, WIDE
    )
    publish(
        "compare", params, found, table=table(found), verdict=verdict(found["rows"]), figure=drawn
    )


def planned_trials(params: Params, dataset: str, seeds: Sequence[int]) -> list[Trial]:
    """One trial for each row that the recipe allows, and each seed."""
    frozen = params.recipe_settings.model.frozen
    rows = {name: row for name, row in ROWS.items() if frozen or row.view != "image"}
    return plan(params, dataset, rows, seeds)


def compared(outcomes: Mapping[str, list[Outcome]], *, samples: int, seed: int) -> dict[str, Any]:
    """The numbers of ``compare.json``: recalls, and gains with their intervals.

    Args:
        outcomes: the outcomes of each row, one for each seed.
        samples: resamplings of the test images.
        seed: of the resamplings.
    """
    tests = {name: [outcome.scored for outcome in found] for name, found in outcomes.items()}
    tests[IMAGE_ONLY] = [outcome.image_only for outcome in outcomes[METHOD]]
    if any(test.beta for test in tests[METHOD]):
        tests[FUSED] = [not_reranked(test) for test in tests[METHOD]]
    if len(tests[VANILLA]) > 1:
        neighbours = [*tests[VANILLA][1:], tests[VANILLA][0]]
        tests[AVERAGED] = list(map(averaged, tests[VANILLA], neighbours))
    ranks = {name: [test.ranks() for test in found] for name, found in tests.items()}
    captions = tests[VANILLA][0].text_to_image

    def gain(name: str, over: str) -> dict[str, float]:
        delta = bootstrap_delta(ranks[over], ranks[name], captions, samples=samples, seed=seed)
        return delta["R@1"]

    rows = {name: recalls(found) for name, found in ranks.items()}
    for name, row in rows.items():
        if name in outcomes:
            row["alpha"] = [outcome.scorer.alpha for outcome in outcomes[name]]
            row["beta"] = [outcome.scorer.beta for outcome in outcomes[name]]
            row["cpu_s"] = mean_and_deviation([outcome.cpu_s for outcome in outcomes[name]])
        if name != VANILLA:
            row["over_vanilla"] = gain(name, VANILLA)
        if name in CONTROLS:
            row["structxlip_over"] = gain(METHOD, name)
    return {"test_pairs": len(tests[VANILLA][0].images), "rows": rows}


def not_reranked(split: Embeddings) -> Embeddings:
    """The split in the order of its embeddings."""
    return replace(split, candidates=None, beta=0.0)


def averaged(one: Embeddings, other: Embeddings) -> Embeddings:
    """Embeddings whose inner products are the means of those of two models."""

    def joined(a: Any, b: Any) -> Any:
        return np.concatenate([a, b], axis=1) / np.sqrt(2)

    return replace(
        one, images=joined(one.images, other.images), texts=joined(one.texts, other.texts)
    )


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


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``compare.json`` for readers."""
    header = [
        "model",
        "I→T R@1",
        "T→I R@1",
        "α",
        "β",
        "gain over vanilla",
        "StructXLIP's gain over it",
    ]
    header.append("training, CPU s")
    rows = []
    for name, label in LABELS.items():
        if name not in found["rows"]:
            continue
        row = found["rows"][name]
        weights = [
            ", ".join(f"{weight:g}" for weight in dict.fromkeys(row.get(name, [])))
            for name in ("alpha", "beta")
        ]
        gains = [
            gain_text(row[key]) if key in row else "" for key in ("over_vanilla", "structxlip_over")
        ]
        cost = f"{row['cpu_s']['mean']:.0f}" if "cpu_s" in row else ""
        rows.append([label, *(spread(row[f"{way}/R@1"]) for way in WAYS), *weights, *gains, cost])
    return Table(
        f"{about(found)} R@1 in percent on {found['test_pairs']} test images, mean ± standard "
        f"deviation over seeds; gains in points with their 95 % bootstrap interval.",
        header,
        rows,
    )
