"""Trials: the trainings of an experiment, side by side on Ray, each kept once it is done."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from structxlip.evaluation.embedding import Embeddings, Scorer
from structxlip.evaluation.protocol import Scorers, recall_at_1
from structxlip.evaluation.reranking import Candidates
from structxlip.evaluation.retrieval import WAYS
from structxlip.incremental.artifacts import MODELS, atomic_directory
from structxlip.incremental.ray_map import map_units
from structxlip.incremental.row_cache import signature
from structxlip.models.structxlip import StructXLIP
from structxlip.training.assembly import open_view
from structxlip.training.export import load_trained
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker

if TYPE_CHECKING:
    import pyarrow as pa

OUTCOME = "outcome.npz"
# What an outcome holds beside embeddings.
NUMBERS = ("validation", "validation_image_only", "last_epoch", "cpu_s")


@dataclass(frozen=True)
class Trial:
    """One training of an experiment.

    Attributes:
        row: the row of the table that it belongs to.
        run: the training.
    """

    row: str
    run: TrainingRun

    def folder(self, experiments: Path) -> Path:
        """Where its model and its outcome are kept, named by all that they follow from."""
        tried = self.run.params.recipe_settings.evaluation
        key = signature(json.dumps([tried.alphas, tried.betas]))
        return (experiments / f"{self.run.name}-{key}").resolve()

    def __str__(self) -> str:
        return f"{self.row}, seed {self.run.params.seed}"


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Attributes:
        scorer: the weights of the second branch, chosen on validation.
        validation: mean R@1 of both ways on validation under it, in percent.
        image_only: the test split without the second branch.
        scored: the test split under the scorer.
        validation_image_only: the same without the second branch.
        last_epoch: the losses of the last epoch by their names, such as ``edge_text_loss``.
        cpu_s: processor time of the training, in seconds; of a training that went on after a kill,
            that of its last part.
    """

    scorer: Scorer
    validation: float
    image_only: Embeddings
    scored: Embeddings
    validation_image_only: float = math.nan
    last_epoch: Mapping[str, float] = field(default_factory=dict)
    cpu_s: float = 0.0

    def save(self, file: Path) -> None:
        """Write the outcome as a NumPy archive."""
        about = {name: getattr(self, name) for name in NUMBERS} | {"scorer": asdict(self.scorer)}
        candidates = {
            f"{way}/{name}": values
            for way, found in (self.scored.candidates or {}).items()
            for name, values in found._asdict().items()
        }
        np.savez(
            file,
            about=np.array(json.dumps(about)),
            **candidates,
            images=self.image_only.images,
            fused=self.scored.images,
            texts=self.image_only.texts,
            text_to_image=self.image_only.text_to_image,
            groups=self.image_only.groups,
        )

    @classmethod
    def load(cls, file: Path) -> Outcome:
        """The outcome that ``save`` wrote."""
        with np.load(file, allow_pickle=False) as found:
            texts = found["texts"], found["text_to_image"], found["groups"]
            about = json.loads(str(found["about"]))
            scorer = Scorer(**about.pop("scorer"))
            candidates = {
                way: Candidates(found[f"{way}/answers"], found[f"{way}/late"])
                for way in WAYS
                if scorer.beta
            }
            return cls(
                scorer,
                image_only=Embeddings(found["images"], *texts),
                scored=Embeddings(found["fused"], *texts, candidates or None, scorer.beta),
                **about,
            )


def trials_of(dataset: str) -> Path:
    """The folder that keeps the trials of a dataset."""
    return MODELS / dataset / "trials"


def run_trials(trials: Sequence[Trial], folder: Path, description: str) -> list[Outcome]:
    """The outcome of every trial, in order. Trials that are done are read from ``folder``.

    Args:
        trials: what is trained. Trials of the same parameters and data are trained once.
        folder: keeps, for each trial, a folder with its model and its outcome. A killed experiment
            goes on with what is left, and a killed training from its last checkpoint.
        description: of the progress.

    Raises ``UserError`` when a training fails.
    """
    places = [trial.folder(folder) for trial in trials]
    left = [unit for unit in zip(trials, places, strict=True) if not unit[1].exists()]
    for _ in map_units(
        left,
        _make_worker,
        description=description,
        samples=lambda _: 1,
        name=lambda unit: str(unit[0]),
    ):
        pass
    return [Outcome.load(place / OUTCOME) for place in places]


def _make_worker() -> Callable[[tuple[Trial, Path]], pa.Table]:
    import pyarrow as pa

    def work(unit: tuple[Trial, Path]) -> pa.Table:
        trial, place = unit
        with atomic_directory(place) as directory:
            run_trial(trial.run, directory)
        trial.run.checkpoints().remove()
        return pa.table({"folder": [str(place)]})

    return work


def run_trial(run: TrainingRun, directory: Path) -> None:
    """Train in this process, choose the scorer on validation, and embed the test split.

    The model and the outcome are written to ``directory``.
    """
    started = time.process_time()
    train_worker(run, run.checkpoints(), World(), lambda _: None)
    cpu_s = time.process_time() - started
    model, history = load_trained(run)
    model.save(directory)
    losses = {name: value for name, value in history[-1].items() if name.endswith("_loss")}
    replace(_outcome(run, model), cpu_s=cpu_s, last_epoch=losses).save(directory / OUTCOME)


def _outcome(run: TrainingRun, model: StructXLIP) -> Outcome:
    store = run.store()
    view = open_view(run, store)
    scorers = Scorers.of(run.params.recipe_settings)
    val, test = (scorers.embed(model, store, view, split) for split in ("val", "test"))
    scorer, validation, _ = scorers.choose(val)
    return Outcome(
        scorer,
        validation,
        image_only=test.scored(Scorer()),
        scored=test.scored(scorer),
        validation_image_only=recall_at_1(val.scored(Scorer())),
    )
