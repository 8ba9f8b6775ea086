"""`structxlip tune`: a search for better settings on validation, both arms with the same budget."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from structxlip.config import Params, Recipe
from structxlip.config.arms import STRUCTURAL_LOSSES
from structxlip.config.edit import overridden
from structxlip.config.inherit import merged
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, plan
from structxlip.experiments.tables import CACHE, Table, publish
from structxlip.experiments.trials import OUTCOME, Outcome, Trial, run_trial, trials_of
from structxlip.incremental.artifacts import REPORTS, atomic_directory
from structxlip.incremental.row_cache import signature
from structxlip.progress import say
from structxlip.ray_session import ray_session
from structxlip.reports.pictures import figure

FACTOR = 5.0  # a positive value is searched from a fifth to five times what it is
SCORE = "validation"
Found = list[tuple[dict[str, float], float]]  # settings and validation of each trial, in order


def tune(params: Params, dataset: str, trials: int, params_file: Path) -> None:
    """Try settings of both arms, ``trials`` of each, and publish ``tune`` with a proposed change.

    The first settings tried are those that are set. A search goes on where it was stopped, and a
    larger ``trials`` adds to it. ``reports/<dataset>/tune.diff`` proposes the change of
    ``params_file``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    with ray_session() as processors:
        found = {
            arm: _search(params, dataset, arm, trials, processors) for arm in (VANILLA, METHOD)
        }
    rows = {arm: _row(tried) for arm, tried in found.items()}
    content = {"dataset": dataset, "recipe": params.recipe, "seeds": [params.seed], "rows": rows}
    winner = max(rows, key=lambda arm: rows[arm]["best"])
    settings = found[METHOD][0][0] | rows[METHOD]["settings"] | rows[winner]["settings"]
    before, after = overridden(params_file, dataset, nested(settings))
    drawn = figure(lambda axes: _draw(axes[0], found), 1)
    publish(
        "tune",
        params,
        content,
        table=_table(content, trials),
        verdict=_verdict(rows, winner),
        figure=drawn,
        command=f"structxlip tune {dataset} --trials {trials}",
    )
    proposal = REPORTS / dataset / "tune.diff"
    proposal.write_text(_diff(before, after, params_file), encoding="utf-8")
    say(f"tune {dataset}: `git apply {proposal}` takes these settings over")


def search_space(recipe: Recipe, arm: str) -> dict[str, tuple[float, float, float]]:
    """The settings of an arm that are searched, by their keys in a recipe.

    Each has a lower bound, an upper bound and its present value. Settings that are 0 are left out.
    """
    now = {
        "train.learning_rate": recipe.train.learning_rate,
        "train.weight_decay": recipe.train.weight_decay,
    }
    if arm == METHOD:
        weights = recipe.arms.structxlip.weights
        now |= {f"arms.structxlip.{name}.weight": weights[name] for name in STRUCTURAL_LOSSES}
    return {key: (value / FACTOR, value * FACTOR, value) for key, value in now.items() if value}


def nested(settings: Mapping[str, float]) -> dict[str, Any]:
    """Settings by keys such as ``train.learning_rate`` as nested mappings, with three digits."""
    content: dict[str, Any] = {}
    for key, value in settings.items():
        *sections, name = key.split(".")
        place = content
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = float(f"{value:.3g}")
    return content


def _search(params: Params, dataset: str, arm: str, trials: int, processors: int) -> Found:
    """The trials of an arm: those that an earlier search has made, and what is left of them."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend
    from ray import tune as ray_tune
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = search_space(params.recipe_settings, arm)
    (first,) = plan(params, dataset, {arm: BOTH_ARMS[arm]}, [params.seed])
    name = signature(first.folder(trials_of(dataset)).name, json.dumps(space))
    folder = (CACHE / dataset / "tune").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    storage = JournalStorage(JournalFileBackend(str(folder / f"{arm}-{name}.log")))

    def done() -> Found:
        study = optuna.create_study(
            study_name=name, storage=storage, direction="maximize", load_if_exists=True
        )
        complete = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
        return [(dict(one.params), float(one.value or 0.0)) for one in complete]

    left = trials - len(before := done())
    if left > 0:
        search = OptunaSearch(
            {
                key: optuna.distributions.FloatDistribution(low, high, log=True)
                for key, (low, high, _) in space.items()
            },
            metric=SCORE,
            mode="max",
            points_to_evaluate=None if before else [{k: now for k, (*_, now) in space.items()}],
            study_name=name,
            storage=storage,
            seed=params.seed + len(before),
        )
        trainable = ray_tune.with_parameters(
            _try, params=params, dataset=dataset, arm=arm, project=Path.cwd()
        )
        ray_tune.Tuner(
            trainable,
            tune_config=ray_tune.TuneConfig(
                search_alg=search, num_samples=left, max_concurrent_trials=processors
            ),
            run_config=ray_tune.RunConfig(
                name=f"{arm}-{name}", storage_path=str(folder), verbose=0
            ),
        ).fit()
    return done()[:trials]


def _try(
    config: Mapping[str, float], params: Params, dataset: str, arm: str, project: Path
) -> dict[str, float]:
    """Train an arm with some settings, in a Ray worker; its validation, in percent."""
    os.chdir(project)
    tried = with_settings(params, config)
    (trial,) = plan(tried, dataset, {arm: BOTH_ARMS[arm]}, [params.seed])
    return {SCORE: _validation(trial, trials_of(dataset))}


def _validation(trial: Trial, folder: Path) -> float:
    place = trial.folder(folder)
    if not place.exists():
        with atomic_directory(place) as directory:
            run_trial(trial.run, directory)
        trial.run.checkpoints().remove()
    return Outcome.load(place / OUTCOME).validation


def with_settings(params: Params, settings: Mapping[str, float]) -> Params:
    """The parameters with some settings of the selected recipe changed."""
    content = merged(params.recipe_settings.model_dump(by_alias=True), nested(settings))
    changed = Recipe.model_validate(content)
    return params.model_copy(update={"recipes": params.recipes | {params.recipe: changed}})


def _row(found: Found) -> dict[str, Any]:
    """The numbers of an arm in ``tune.json``."""
    settings, best = max(found, key=lambda one: one[1])
    return {"trials": len(found), "now": found[0][1], "best": best, "settings": settings}


def _verdict(rows: Mapping[str, Any], winner: str) -> str:
    shown = [f"{arm} {row['best']:.1f} % (now {row['now']:.1f} %)" for arm, row in rows.items()]
    return (
        f"best R@1 on validation after {rows[winner]['trials']} trainings of each arm: "
        f"{', '.join(shown)}; the change takes what both arms share from {winner}"
    )


def _table(content: Mapping[str, Any], trials: int) -> Table:
    rows = [
        [
            arm,
            f"{row['now']:.1f}",
            f"{row['best']:.1f}",
            ", ".join(f"`{key}` {value:.3g}" for key, value in row["settings"].items()),
        ]
        for arm, row in content["rows"].items()
    ]
    return Table(
        f"Dataset `{content['dataset']}`, recipe `{content['recipe']}`, {trials} trainings of each "
        f"arm. Mean R@1 of both ways on validation, in percent. The best of many is chosen, so it "
        f"is too good: `dvc repro` with the change tells the gain on the test split.",
        ["arm", "now", "best", "settings of the best"],
        rows,
    )


def _draw(axis: Any, found: Mapping[str, Found]) -> None:
    """Each training as a dot, and the best so far as a line."""
    for arm, tried in found.items():
        scores = [score for _, score in tried]
        best = [max(scores[: number + 1]) for number in range(len(scores))]
        numbers = range(1, len(scores) + 1)
        (line,) = axis.plot(numbers, best, drawstyle="steps-post", label=arm)
        axis.plot(numbers, scores, "o", markersize=3, color=line.get_color(), alpha=0.5)
    axis.set(xlabel="training", ylabel="R@1 on validation, %")
    axis.legend(frameon=False)


def _diff(before: str, after: str, file: Path) -> str:
    from difflib import unified_diff

    lines: Sequence[str] = list(
        unified_diff(
            before.splitlines(keepends=True),
            after.splitlines(keepends=True),
            f"a/{file}",
            f"b/{file}",
        )
    )
    return "".join(lines)
