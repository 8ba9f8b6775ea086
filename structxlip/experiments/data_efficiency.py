"""`structxlip data-efficiency`: both arms with 5 to 100 % of the training pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from structxlip.config import Params
from structxlip.evaluation.statistics import bootstrap_delta
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, plan
from structxlip.experiments.summary import about, by_row, recalls, spread
from structxlip.experiments.tables import Table, publish
from structxlip.experiments.trials import Outcome, run_trials, trials_of
from structxlip.reports.comparison import gain_text
from structxlip.reports.pictures import figure

SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def data_efficiency(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Train both arms with every share of the training pairs, and publish ``data-efficiency``.

    A smaller share is a part of a larger one. Both arms have the same pairs and the same epochs.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    rows = {
        f"{share:g} {arm}": replace(row, train_share=share)
        for share in SHARES
        for arm, row in BOTH_ARMS.items()
    }
    trials = plan(params, dataset, rows, seeds)
    outcomes = by_row(trials, run_trials(trials, trials_of(dataset), f"data-efficiency {dataset}"))
    pairs = {trial.row: len(trial.run.store().rows("train")) for trial in trials}
    samples = params.recipe_settings.evaluation.bootstrap_samples
    found: dict[str, Any] = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds)}
    found["rows"] = {
        f"{share:g}": {"pairs": pairs[f"{share:g} {VANILLA}"]}
        | compared(
            outcomes[f"{share:g} {VANILLA}"],
            outcomes[f"{share:g} {METHOD}"],
            samples=samples,
            seed=params.seed,
        )
        for share in SHARES
    }
    publish(
        "data-efficiency",
        params,
        found,
        table=table(found),
        verdict=verdict(found),
        figure=figure(lambda axes: _draw(axes[0], found["rows"]), 1),
    )


def compared(
    vanilla: Sequence[Outcome], structxlip: Sequence[Outcome], *, samples: int, seed: int
) -> dict[str, Any]:
    """The recalls of both arms, and the gain with its interval."""
    before, after = ([one.scored.ranks() for one in found] for found in (vanilla, structxlip))
    captions = vanilla[0].scored.text_to_image
    gain = bootstrap_delta(before, after, captions, samples=samples, seed=seed)["R@1"]
    return {VANILLA: recalls(before), METHOD: recalls(after), "gain": gain}


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence: the gain with the fewest and with all pairs."""
    few, *_, all_pairs = found["rows"].values()
    return (
        f"StructXLIP gains {gain_text(few['gain'], 'points of R@1')} over vanilla with "
        f"{few['pairs']} training pairs, {gain_text(all_pairs['gain'])} with {all_pairs['pairs']}"
    )


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``data-efficiency.json`` for readers."""
    rows = [
        [
            f"{float(share):.0%}",
            f"{row['pairs']}",
            *(spread(row[arm]["R@1"]) for arm in BOTH_ARMS),
            gain_text(row["gain"]),
        ]
        for share, row in found["rows"].items()
    ]
    return Table(
        f"{about(found)} Mean R@1 of both ways in percent, mean ± standard deviation over seeds; "
        f"gains in points with their 95 % bootstrap interval.",
        ["training pairs", "number", *(row.label for row in BOTH_ARMS.values()), "gain"],
        rows,
    )


def _draw(axis: Any, rows: Mapping[str, Any]) -> None:
    pairs = [row["pairs"] for row in rows.values()]
    for arm, label in BOTH_ARMS.items():
        means = [row[arm]["R@1"]["mean"] for row in rows.values()]
        axis.plot(pairs, means, marker="o", label=label.label)
    axis.set(xscale="log", xlabel="training pairs", ylabel="mean R@1 on test, %", ylim=(0, None))
    axis.legend(frameon=False)
