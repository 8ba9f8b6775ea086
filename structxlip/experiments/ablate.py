"""`structxlip ablate`: what each part of StructXLIP gives, by leaving it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from structxlip.config import ArmSettings, EdgeBranch, Params
from structxlip.config.arms import STRUCTURAL_LOSSES
from structxlip.evaluation.statistics import bootstrap_delta
from structxlip.experiments.compare import not_reranked
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, Row, plan
from structxlip.experiments.summary import about, by_row, recalls, spread
from structxlip.experiments.tables import Table, publish
from structxlip.experiments.trials import Outcome, run_trials, trials_of
from structxlip.reports.comparison import gain_text
from structxlip.reports.pictures import WIDE, draw_gains, figure

IMAGE_ONLY, NOT_RERANKED = "not_fused", "not_reranked"
CUES = ("canny", "gradient", "sobel")  # that are tried in the place of the recipe's
# Edge branches that are tried in the place of the recipe's, and the maps that they read.
BRANCHES: dict[EdgeBranch, tuple[str, dict[str, Any]]] = {
    "cnn": ("a CNN on maps of canny", {"cue": "canny", "size_px": 128}),
    "descriptor": (
        "a small CNN on cells of orientations",
        {"cue": "orientations", "size_px": 128},
    ),
    "image_tower": (
        "heads on the frozen tower's reading of gradient",
        {"cue": "gradient", "size_px": 224, "tower_grid": 4},
    ),
}


def ablation_rows(params: Params) -> dict[str, Row]:
    """StructXLIP, and what is left of it without one part; vanilla stands beside.

    A loss that the recipe does not use has no row.
    """
    recipe = params.recipe_settings
    used = [name for name in STRUCTURAL_LOSSES if recipe.arms.structxlip.weights[name]]
    rows = dict(BOTH_ARMS)
    if len(used) > 1:
        rows |= {
            f"no_{name}": Row(
                f"without the {name.replace('_', '-')} loss", change=partial(without, name)
            )
            for name in used
        }
    rows["whole_captions"] = Row("without the caption filter", view="whole_captions")
    if recipe.arms.structxlip.edge_branch != "descriptor":  # which reads cells alone
        rows |= {
            f"cue_{cue}": Row(f"with the cue {cue}", edges={"cue": cue})
            for cue in CUES
            if cue != recipe.edges.cue
        }
    if recipe.model.frozen:
        rows |= {
            f"branch_{branch}": Row(f"with {label}", change=partial(read_by, branch), edges=edges)
            for branch, (label, edges) in BRANCHES.items()
            if branch != recipe.arms.structxlip.edge_branch
        }
    return rows


def read_by(branch: EdgeBranch, arm: ArmSettings) -> ArmSettings:
    """The arm with another edge branch. One that is trained from nothing sees its maps moved."""
    shift = 0 if branch == "image_tower" else arm.edge_shift_px or 4
    return arm.model_copy(update={"edge_branch": branch, "edge_shift_px": shift})


def without(loss: str, arm: ArmSettings) -> ArmSettings:
    """The arm with the weight of one loss at 0."""
    return arm.with_weights(**{loss: 0.0})


def ablate(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Train all rows with every seed, and publish ``ablate``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    rows = ablation_rows(params)
    trials = plan(params, dataset, rows, seeds)
    outcomes = run_trials(trials, trials_of(dataset), f"ablate {dataset}")
    samples = params.recipe_settings.evaluation.bootstrap_samples
    labels = {name: row.label for name, row in rows.items()} | {
        NOT_RERANKED: "without reranking",
        IMAGE_ONLY: "without the edge branch at test",
    }
    found: dict[str, Any] = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds)}
    found["labels"] = labels
    found["rows"] = ablated(by_row(trials, outcomes), samples=samples, seed=params.seed)
    costs = {labels[name]: row["cost"] for name, row in found["rows"].items() if "cost" in row}
    drawn = figure(lambda axes: draw_gains(axes[0], costs, "cost, points of R@1"), 1, WIDE)
    publish("ablate", params, found, table=table(found), verdict=verdict(found), figure=drawn)


def ablated(
    outcomes: Mapping[str, list[Outcome]], *, samples: int, seed: int
) -> dict[str, dict[str, Any]]:
    """Recalls of each row, and the cost: the gain of StructXLIP over the row.

    Args:
        outcomes: of each row, one for each seed.
        samples: resamplings of the test images.
        seed: of the resamplings.
    """
    ranks = {name: [one.scored.ranks() for one in found] for name, found in outcomes.items()}
    if any(one.scored.beta for one in outcomes[METHOD]):
        ranks[NOT_RERANKED] = [not_reranked(one.scored).ranks() for one in outcomes[METHOD]]
    ranks[IMAGE_ONLY] = [one.image_only.ranks() for one in outcomes[METHOD]]
    captions = outcomes[METHOD][0].scored.text_to_image
    rows = {}
    for name, found in ranks.items():
        rows[name] = recalls(found)
        if name != METHOD:
            delta = bootstrap_delta(found, ranks[METHOD], captions, samples=samples, seed=seed)
            rows[name]["cost"] = delta["R@1"]
    return rows


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence: the parts whose loss costs recall with confidence."""
    parts = {name: row for name, row in found["rows"].items() if name not in (METHOD, VANILLA)}
    needed = [
        f"{found['labels'][name]} {gain_text(row['cost'])}"
        for name, row in parts.items()
        if row["cost"]["low"] > 0
    ]
    if not needed:
        return "no part costs recall with confidence when it is left out"
    return f"StructXLIP is better than what is left of it: {', '.join(needed)}"


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``ablate.json`` for readers."""
    rows = [
        [
            found["labels"][name],
            spread(row["R@1"]),
            gain_text(row["cost"]) if "cost" in row else "",
        ]
        for name, row in found["rows"].items()
    ]
    return Table(
        f"{about(found)} Mean R@1 of both ways in percent, mean ± standard deviation over seeds; "
        f"the cost is the gain of StructXLIP over the row, in points with its 95 % bootstrap "
        f"interval.",
        ["what is trained", "R@1", "cost"],
        rows,
    )
