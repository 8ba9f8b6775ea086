"""Stage `train`: fine-tune one arm, `models/<dataset>/<arm>`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from structxlip.config import Arm, Params
from structxlip.ray_session import ray_session
from structxlip.registry import TrainingLog
from structxlip.stages.artifacts import DATA, MODELS, atomic_directory
from structxlip.training.loop import Done
from structxlip.training.ray_train import train_arm
from structxlip.training.run import TrainingRun
from structxlip.training.watch import Watch


def train(params: Params, dataset: str, arm: Arm) -> None:
    import pandas as pd

    data = DATA / dataset
    run = TrainingRun(params, arm, data / "features", data / "edges")
    watch = Watch(f"train {dataset} {arm}", params.active.train.epochs)
    log, status = TrainingLog(dataset, params, arm, run.name), "FAILED"

    def listener(done: Done) -> None:
        watch(done)
        log(done.step, done.seen | _named(done.epoch or {}))

    try:
        with ray_session(), watch:
            model, history = train_arm(run, listener)
        status = "FINISHED"
    finally:
        log.close(status)
    with atomic_directory(MODELS / dataset / arm) as directory:
        model.save(directory)
        pd.DataFrame(history).to_parquet(directory / "history.parquet")
        if weights := params.active.edges.weights:  # a model is whole where its folder is
            shutil.copyfile(weights, directory / Path(weights).name)
        described = {"edges": params.active.edges.model_dump(), "dataset": dataset, "arm": arm}
        (directory / "preprocess.json").write_text(json.dumps(described, indent=2) + "\n")
    run.checkpoints().remove()


def _named(epoch: dict[str, float]) -> dict[str, float]:
    """The row of an epoch, beside what belongs to its last step."""
    return {n if n.startswith("val/") else f"epoch/{n}": v for n, v in epoch.items()}
