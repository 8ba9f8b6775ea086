"""Training through Ray Train: the same loop on one worker, many, or a cluster."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from structxlip.config import Arm, Params, StructuralLosses, Vanilla
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.progress import say
from structxlip.ray_session import users_own
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.loop import Loop, validation_recall

STORAGE = Path(".cache/train")
WEIGHTS = Path("assets/models")


@dataclass(frozen=True)
class TrainingRun:
    """One arm on one dataset; what workers need, and what a checkpoint is valid for."""

    params: Params
    arm: Arm
    features: Path
    edges: Path
    storage: Path = STORAGE

    @property
    def losses(self) -> StructuralLosses | Vanilla:
        return getattr(self.params.active.arms, self.arm)

    def name(self) -> str:
        """A name that changes with the parameters and with the data: a stale checkpoint of other
        ones is never gone on from."""
        digest = hashlib.blake2b(digest_size=10)
        params = self.params
        for section in (params.active.model, params.active.train, self.losses):
            digest.update(section.model_dump_json().encode())
        digest.update(str(params.seed).encode())
        weights = WEIGHTS.rglob("*")  # that the parameters name
        files = [*self.features.iterdir(), *self.edges.iterdir(), *filter(Path.is_file, weights)]
        for path in sorted(files):
            digest.update(path.name.encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "blake2b").digest())
        return f"{self.arm}-{digest.hexdigest()}"


def train_arm(run: TrainingRun, cpus: int) -> tuple[StructXLIP, list[dict[str, float]]]:
    """Train, or go on from the last checkpoint of the same parameters and data.

    Returns the trained model and its history, one row an epoch. Call it inside a Ray session with
    that many ``cpus``; ``forget`` removes its checkpoints when the result is safe.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # A report waits until the controller asks for it, which is every 2 s, and an epoch can be less.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    machine = run.params.machine
    gpus = int(ray.cluster_resources().get("GPU", 0)) if torch.cuda.is_available() else 0
    if gpus and machine.workers > gpus:
        raise UserError(
            f"machine.workers is {machine.workers}, each takes a GPU, and there are {gpus}",
            2,
        )
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "params": run.params.model_dump(by_alias=True),
            "arm": run.arm,
            "features": str(run.features.resolve()),
            "edges": str(run.edges.resolve()),
            "folder": str(Path.cwd()),
        },
        scaling_config=ScalingConfig(
            num_workers=machine.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": max(cpus // machine.workers, 1)},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # mypy sees the RunConfig of Ray Train V1
            name=run.name(),
            storage_path=str(run.storage.resolve()),
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            failure_config=FailureConfig(max_failures=machine.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = trainer.fit()
    except Exception as error:
        raise users_own(error) or error from None
    assert result.checkpoint is not None, "every epoch reports a checkpoint"
    store = FeatureStore(run.features)
    model = arm_model(run.params, run.losses, store)
    with result.checkpoint.as_directory() as directory:
        loop = arm_loop(
            run.params, run.losses, model, arm_batches(run.params, run.losses, store, None)
        )
        loop.restore(Path(directory))
    model.finish(lambda: arm_model(run.params, run.losses, store), run.params.active.train.tuned_share)
    return model.eval(), loop.progress.history


def forget(run: TrainingRun) -> None:
    """Remove the checkpoints of a run."""
    shutil.rmtree(run.storage / run.name(), ignore_errors=True)


def _worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    import ray.train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)  # every report is an INFO line, otherwise
    os.chdir(config["folder"])  # paths in the parameters are seen from there
    params = Params.model_validate(config["params"])
    losses = getattr(params.active.arms, config["arm"])
    context = ray.train.get_context()
    rank, workers = context.get_world_rank(), context.get_world_size()
    store = FeatureStore(Path(config["features"]))
    edges = None
    if isinstance(losses, StructuralLosses):
        edges = EdgeMaps(Path(config["edges"]), store.ids)
    model = arm_model(params, losses, store)
    loop = arm_loop(
        params,
        losses,
        model,
        arm_batches(params, losses, store, edges, rank=rank, workers=workers),
        rank=rank,
        workers=workers,
        device=get_device(),
    )
    if checkpoint := ray.train.get_checkpoint():
        with checkpoint.as_directory() as directory:
            loop.restore(Path(directory))
        if rank == 0:
            say(f"going on after epoch {loop.progress.epochs_done}")

    def after_epoch(loop: Loop) -> None:
        last = loop.progress.history[-1]
        if rank:
            ray.train.report(last)
            return
        last |= validation_recall(loop.inner.model, store)
        say(_line(config["arm"], last, params.active.train.epochs))
        with tempfile.TemporaryDirectory() as directory:
            loop.save(Path(directory))
            ray.train.report(last, checkpoint=ray.train.Checkpoint.from_directory(directory))

    loop.run(after_epoch)


def _line(arm: str, epoch: dict[str, float], epochs: int) -> str:
    losses = ", ".join(f"{k} {v:.3f}" for k, v in epoch.items() if k.endswith("loss"))
    recall = (epoch["val/image_to_text/R@1"] + epoch["val/text_to_image/R@1"]) / 2
    return f"train {arm}: {epoch['epoch']:.0f}/{epochs} epochs, {losses}, val R@1 {recall:.1f} %"
