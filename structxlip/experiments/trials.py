"""Trials: the trainings of an experiment, side by side on Ray, each kept once it is done."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from structxlip.evaluation.protocol import Embeddings, choose_alpha, embed_split
from structxlip.evaluation.statistics import mean_recall
from structxlip.features.store import FeatureStore
from structxlip.incremental.ray_map import map_units
from structxlip.training.assembly import open_view
from structxlip.training.export import load_trained
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Trial:
    """One training of an experiment.

    Attributes:
        row: the row of the table that it belongs to.
        run: the training.
    """

    row: str
    run: TrainingRun

    def __str__(self) -> str:
        return f"{self.row}, seed {self.run.params.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a trial gives.

    Attributes:
        alpha: weight of the second branch, chosen on validation.
        validation: mean R@1 of both ways on validation at that weight, in percent.
        image_only: the test split without the second branch.
        fused: the test split with it, at ``alpha``.
    """

    alpha: float
    validation: float
    image_only: Embeddings
    fused: Embeddings

    def save(self, file: Path) -> None:
        """Write the outcome as a NumPy archive, complete or not at all."""
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.stem}.tmp-{os.getpid()}.npz")
        np.savez(
            temporary,
            about=np.array(json.dumps({"alpha": self.alpha, "validation": self.validation})),
            images=self.image_only.images,
            fused=self.fused.images,
            texts=self.image_only.texts,
            text_to_image=self.image_only.text_to_image,
        )
        temporary.replace(file)

    @classmethod
    def load(cls, file: Path) -> Outcome:
        """The outcome that ``save`` wrote."""
        with np.load(file, allow_pickle=False) as found:
            texts = found["texts"], found["text_to_image"]
            about = json.loads(str(found["about"]))
            return cls(
                about["alpha"],
                about["validation"],
                Embeddings(found["images"], *texts),
                Embeddings(found["fused"], *texts),
            )


def run_trials(trials: Sequence[Trial], folder: Path, description: str) -> list[Outcome]:
    """The outcome of every trial, in order. Trials that are done are read from ``folder``.

    Args:
        trials: what is trained. Trials of the same parameters and data are trained once.
        folder: keeps outcomes. A killed experiment goes on with what is left, and a killed training
            from its last checkpoint.
        description: of the progress.

    Raises ``UserError`` when a training fails.
    """
    files = [(folder / f"{trial.run.name}.npz").resolve() for trial in trials]
    open_trials = {file: trial for file, trial in zip(files, trials, strict=True)}
    left = [(trial, file) for file, trial in open_trials.items() if not file.exists()]
    for _ in map_units(
        left, _make_worker, description=description, samples=_one, name=lambda unit: str(unit[0])
    ):
        pass
    return [Outcome.load(file) for file in files]


def _one(_: tuple[Trial, Path]) -> int:
    return 1


def _make_worker() -> Callable[[tuple[Trial, Path]], pa.Table]:
    import pyarrow as pa

    def work(unit: tuple[Trial, Path]) -> pa.Table:
        trial, file = unit
        run_trial(trial.run).save(file)
        trial.run.checkpoints().remove()
        return pa.table({"file": [str(file)]})

    return work


def run_trial(run: TrainingRun) -> Outcome:
    """Train in this process; choose α on validation, and embed the test split with it."""
    train_worker(run, run.checkpoints(), World(), lambda _: None)
    model, _ = load_trained(run)
    store = FeatureStore(run.features)
    if not run.arm_settings.is_structural:
        validation = embed_split(model, store, None, "val", 0.0)
        test = embed_split(model, store, None, "test", 0.0)
        return Outcome(0.0, mean_recall(validation.ranks().recall((1,))), test, test)
    view = open_view(run, store)
    alpha = choose_alpha(model, store, view, run.params.recipe_settings.evaluation.alphas)
    validation = embed_split(model, store, view, "val", alpha)
    return Outcome(
        alpha,
        mean_recall(validation.ranks().recall((1,))),
        embed_split(model, store, view, "test", 0.0),
        embed_split(model, store, view, "test", alpha),
    )
