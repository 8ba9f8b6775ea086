"""Training through Ray Train: the same loop on one worker, many, or a cluster."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from structxlip.training.checkpoints import BEST, FAILED, STEP, Checkpoints, State
from structxlip.training.loop import Done, Loop, Progress, TrainingFailed, validation_recall
from structxlip.training.parallel import World

WEIGHTS = Path("assets/models")
POLL_S = 1.0
Listener = Callable[[Done], None]


@dataclass(frozen=True)
class TrainingRun:
    """One arm on one dataset; what workers need, and what a checkpoint is valid for."""

    params: Params
    arm: Arm
    features: Path
    edges: Path

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

    @property
    def storage(self) -> str:
        """Where checkpoints are; an absolute path, or a URL."""
        storage = self.params.machine.storage
        return storage if "://" in storage else str(Path(storage).resolve())

    def checkpoints(self) -> Checkpoints:
        return Checkpoints(f"{self.storage}/{self.name()}", self.params.machine.keep_checkpoints)


def train_arm(
    run: TrainingRun, cpus: int, listener: Listener
) -> tuple[StructXLIP, list[dict[str, float]]]:
    """Train, or go on from the last checkpoint of the same parameters and data.

    ``listener`` hears in this process what is known every ``machine.log_steps`` steps. Call it
    inside a Ray session with that many ``cpus``. Returns what ``trained`` does; the checkpoints are
    to be removed when that is safe.
    """
    checkpoints = run.checkpoints()
    state = checkpoints.newest()
    if state is None or not _is_finished(run, state):
        _fit(run, checkpoints, cpus, listener)
    return trained(run)


def trained(run: TrainingRun) -> tuple[StructXLIP, list[dict[str, float]]]:
    """The model that a finished run has come to, and its history, one row an epoch."""
    checkpoints, settings = run.checkpoints(), run.params.active.train
    state = checkpoints.newest()
    if state is None:
        raise UserError(f"{checkpoints.folder} holds no whole checkpoint; train again")
    progress = Progress(**state["progress"])
    if settings.exported == "best":
        assert progress.best is not None
        state = checkpoints.at(BEST, int(progress.best["step"]))
        if state is None:
            raise UserError(f"the best checkpoint in {checkpoints.folder} is damaged; train again")
    store = FeatureStore(run.features)
    model = arm_model(run.params, run.losses, store)
    batches = arm_batches(run.params, run.losses, store, None)
    arm_loop(run.params, run.losses, model, batches).inner.load_state_dict(state["task"])
    model.finish(lambda: arm_model(run.params, run.losses, store), settings.tuned_share)
    return model.eval(), progress.history


def _is_finished(run: TrainingRun, state: State) -> bool:
    progress = Progress(**state["progress"])
    return progress.stopped or progress.epoch == run.params.active.train.epochs


def _fit(run: TrainingRun, checkpoints: Checkpoints, cpus: int, listener: Listener) -> None:
    import ray
    from fsspec.core import url_to_fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    # How soon a worker that is lost, or done, is seen.
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
    machine = run.params.machine
    # Those of the cluster: the machine that starts the stage need have none.
    gpus = int(ray.cluster_resources().get("GPU", 0)) if torch.backends.cuda.is_built() else 0
    if gpus and machine.workers > gpus:
        raise UserError(
            f"machine.workers is {machine.workers}, each takes a GPU, and there are {gpus}", 2
        )
    place: dict[str, Any] = {"storage_path": run.storage}
    if "://" in run.storage:  # Ray itself knows fewer file systems
        fs, path = url_to_fs(run.storage)
        place = {"storage_path": path, "storage_filesystem": PyFileSystem(FSSpecHandler(fs))}
    told = ray.remote(num_cpus=0)(_Told).remote()
    largest = max(node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"])
    each = min(cpus / machine.workers, largest)
    trainer = TorchTrainer(
        _worker,
        train_loop_config={
            "run": run,
            "checkpoints": checkpoints,
            "folder": str(Path.cwd()),
            "told": told,
        },
        scaling_config=ScalingConfig(
            num_workers=machine.workers,
            use_gpu=gpus > 0,
            resources_per_worker={"CPU": int(each) if each >= 1 else each},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # mypy sees the RunConfig of Ray Train V1
            name=run.name(),
            **place,
            failure_config=FailureConfig(max_failures=machine.max_failures),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    with _listening(told, listener):
        try:
            trainer.fit()
        except Exception as error:
            raise users_own(error) or error from None


class _Told:
    """What the first worker tells, until the driver asks."""

    def __init__(self) -> None:
        self.rows: list[Done] = []

    def tell(self, row: Done) -> None:
        self.rows.append(row)

    def take(self) -> list[Done]:
        rows, self.rows = self.rows, []
        return rows


@contextmanager
def _listening(told: Any, listener: Listener) -> Iterator[None]:
    """Hand on what is told while the block runs, each step once: a worker that is started again
    does some steps a second time."""
    import ray

    ended, heard = threading.Event(), 0

    def listen() -> None:
        nonlocal heard
        last = False
        while not last:
            last = ended.wait(POLL_S)
            for row in ray.get(told.take.remote()):
                if row.step > heard:
                    heard = row.step
                    listener(row)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _worker(config: dict[str, Any]) -> None:
    """What Ray Train runs in every worker."""
    import ray.train
    from ray.train.torch import get_device

    logging.getLogger().setLevel(logging.WARNING)
    os.chdir(config["folder"])  # paths in the parameters are seen from there
    run: TrainingRun = config["run"]
    context = ray.train.get_context()
    world = World(
        context.get_world_rank(),
        context.get_world_size(),
        get_device(),
        run.params.machine.sharded,
    )
    train_worker(run, config["checkpoints"], world, config["told"].tell.remote)


def train_worker(
    run: TrainingRun, checkpoints: Checkpoints, world: World, tell: Callable[[Done], object]
) -> None:
    """Train one worker's share from the newest checkpoint on; the first worker ``tell``s."""
    params = run.params
    store = FeatureStore(run.features)
    edges = None
    if isinstance(run.losses, StructuralLosses):
        edges = EdgeMaps(run.edges, store.ids)
    model = arm_model(params, run.losses, store)
    batches = arm_batches(params, run.losses, store, edges, world=world)
    loop = arm_loop(params, run.losses, model, batches, world=world)
    if state := _common(checkpoints, world):
        loop.restore(state)
        if world.rank == 0:
            say(f"going on after step {loop.steps_done:,} (epoch {loop.progress.epoch + 1})")
    due = _Due(params, loop)
    try:
        for done in loop.run(lambda model: validation_recall(model, store)):
            if world.rank == 0 and (done.epoch or done.step % params.machine.log_steps == 0):
                tell(done)
            if done.best:
                _save(checkpoints, BEST, loop)
            if due(done):
                _save(checkpoints, STEP, loop)
    except TrainingFailed as error:
        if not world.sharded:  # the others may wait in a collective call for ever
            failed = {"pairs": error.pairs, "epoch": error.epoch, "step": error.step}
            checkpoints.save(FAILED, loop.steps_done, loop.state() | {"failed": failed})
        raise


def _common(checkpoints: Checkpoints, world: World) -> State | None:
    """The newest whole checkpoint, the same one for all workers."""
    state = checkpoints.newest() if world.rank == 0 else None
    step = world.agree(None if state is None else state["step"])
    if world.rank and step is not None:
        state = checkpoints.at(STEP, step)
    return state


class _Due:
    """Whether a step ends with a checkpoint: of an epoch, every so many steps or minutes."""

    def __init__(self, params: Params, loop: Loop) -> None:
        self.machine, self.loop, self.last = params.machine, loop, time.monotonic()

    def __call__(self, done: Done) -> bool:
        steps, minutes = self.machine.checkpoint_steps, self.machine.checkpoint_minutes
        due = done.epoch is not None or (steps is not None and done.step % steps == 0)
        if not due and minutes is not None:
            due = time.monotonic() - self.last > 60 * minutes
            if self.loop.world.sharded:  # all of them write it together
                due = self.loop.world.agree(due)
        if due:
            self.last = time.monotonic()
        return due


def _save(checkpoints: Checkpoints, kind: str, loop: Loop) -> None:
    if loop.world.rank and not loop.world.sharded:
        return
    state = loop.state()
    if kind == BEST:
        state = {"task": state["task"]}
    if loop.world.rank == 0:
        checkpoints.save(kind, loop.steps_done, state)
