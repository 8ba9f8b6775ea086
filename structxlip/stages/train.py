"""Stage `train`: fine-tune one arm, `models/<dataset>/<arm>`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from structxlip.config import Arm, Params
from structxlip.features.edge_maps import cues_of
from structxlip.incremental.artifacts import MODELS, atomic_directory
from structxlip.progress import say
from structxlip.ray_session import ray_session
from structxlip.tracking.training_log import TrainingLog
from structxlip.training.loop import StepResult
from structxlip.training.progress_display import ProgressDisplay
from structxlip.training.ray_train import train_arm
from structxlip.training.run import TrainingRun


def train(params: Params, dataset: str, arm: Arm) -> None:
    """Train an arm on a dataset, from its newest checkpoint on, and write the model."""
    import pandas as pd

    recipe = params.recipe_settings
    run = TrainingRun.of_dataset(params, dataset, arm)
    name, pairs = f"train {dataset} {arm}", len(run.store().rows("train"))
    say(f"{name}: it starts from {start_of(MODELS / dataset)}")
    for sentence in recipe.train.remarks(pairs):
        say(f"{name}: {sentence}")
    display = ProgressDisplay(name, run.train.epochs)
    log, status = TrainingLog(dataset, params, arm, run.name, run.train), "FAILED"

    def listener(result: StepResult) -> None:
        display(result)
        log(result.step, result.metrics | _epoch_metrics(result.epoch or {}))

    try:
        with ray_session(), display:
            model, history = train_arm(run, listener)
        status = "FINISHED"
    finally:
        log.close(status)
    with atomic_directory(MODELS / dataset / arm) as directory:
        model.save(directory)
        pd.DataFrame(history).to_parquet(directory / "history.parquet")
        # The folder holds everything that the model needs.
        captions = params.caption_settings(dataset)
        lexicons = [name for name in captions.lexicons if Path(name).suffix]
        for file in filter(None, [recipe.edges.weights, *lexicons]):
            shutil.copyfile(file, directory / Path(file).name)
        described = {
            "edges": recipe.edges.model_dump(),
            "cues": cues_of(run.edges) if run.arm_settings.is_structural else [],
            "dataset": dataset,
            "arm": arm,
            "training": run.name,  # finds its run in MLflow
            "start": start_of(MODELS / dataset),
            "train": run.train.model_dump(),
            "captions": captions.model_dump(),
            "attention_temperature": run.arm_settings.region_chunk.attention_temperature,
        }
        (directory / "preprocess.json").write_text(json.dumps(described, indent=2) + "\n")
    run.checkpoints().remove()


def start_of(models: Path) -> str:
    """What the arms of a dataset start from, in words."""
    file = models / "start" / "start.json"
    version = json.loads(file.read_text())["version"] if file.exists() else None
    return "the base" if version is None else f"the champion, version {version}"


def _epoch_metrics(epoch: dict[str, float]) -> dict[str, float]:
    """The row of an epoch under names that differ from those of its last step."""
    return {n if n.startswith("val/") else f"epoch/{n}": v for n, v in epoch.items()}
