"""Training through Ray Train: the same loop on one worker, many, or a cluster."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from structxlip.config import Arm, Params, StructuralLosses, Vanilla
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import named_files
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

    @cached_property
    def name(self) -> str:
        """A name that changes with the parameters and with the data: a stale checkpoint of other
        ones is never gone on from."""
        digest = hashlib.blake2b(digest_size=10)
        params = self.params
        for section in (params.active.model, params.active.train, self.losses):
            digest.update(section.model_dump_json().encode())
        digest.update(str(params.seed).encode())
        weights = [*filter(Path.is_file, WEIGHTS.rglob("*"))]  # that the parameters name
        model = params.active.model
        weights += [file for t in (model.image_tower, model.text_tower) for file in named_files(t)]
        files = {*self.features.iterdir(), *self.edges.iterdir(), *weights}
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
        return Checkpoints(f"{self.storage}/{self.name}", self.params.machine.keep_checkpoints)


def train_arm(run: TrainingRun, listener: Listener) -> tuple[StructXLIP, list[dict[str, float]]]:
    """Train, or go on from the last checkpoint of the same parameters and data.

    ``listener`` hears in this process what is known every ``machine.log_steps`` steps. Call it
    inside a Ray session. Returns what ``trained`` does; the checkpoints are
    to be removed when that is safe.
    """
    checkpoints = run.checkpoints()
    state = checkpoints.newest()
    if state is None or not Progress(**state["progress"]).is_over(run.params.active.train):
        _fit(run, checkpoints, listener)
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
        best = checkpoints.at(BEST, int(progress.best["step"]))
        if best is None:
            say(f"the best checkpoint in {checkpoints.folder} is damaged; the last one is exported")
        state = best or state
    store = FeatureStore(run.features)
    model = arm_model(run.params, run.losses, store)
    batches = arm_batches(run.params, run.losses, store, None)
    arm_loop(run.params, run.losses, model, batches).inner.load_state_dict(state["task"])
    model.finish(lambda: arm_model(run.params, run.losses, store), settings.tuned_share)
    return model.eval(), progress.history


def _fit(run: TrainingRun, checkpoints: Checkpoints, listener: Listener) -> None:
    import ray
    from fsspec.core import url_to_fs
    from pyarrow.fs import FSSpecHandler, PyFileSystem
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

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
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor: Any = ray.remote(_Told)
    told = actor.options(num_cpus=0, scheduling_strategy=here).remote()
    nodes = [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]
    each = 1.0 if gpus else worker_cpus(nodes, machine.workers)
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
            resources_per_worker={"CPU": each},
        ),
        run_config=RunConfig(  # type: ignore[call-arg]  # mypy sees the RunConfig of Ray Train V1
            name=run.name,
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
        if mistake := ray.get(told.mistake.remote()):
            raise mistake


def worker_cpus(nodes: list[float], workers: int) -> float:
    """The most CPUs that each of so many workers can have on machines with so many."""
    shares = {cpus / k for cpus in nodes for k in range(1, workers + 1) if cpus}
    room = [s for s in shares if sum(int(cpus / s + 1e-9) for cpus in nodes) >= workers]
    most = max(room)
    return float(int(most)) if most >= 1 else math.floor(1e4 * most) / 1e4


class _Told:
    """What the first worker tells, until the driver asks; and a mistake that no restart mends."""

    def __init__(self) -> None:
        self.rows: list[Done] = []
        self.wrong: UserError | None = None

    def fail(self, mistake: UserError) -> None:
        self.wrong = self.wrong or mistake

    def mistake(self) -> UserError | None:
        return self.wrong

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

    def guarded() -> None:
        try:
            listen()
        except Exception as error:  # the training itself is worth more than the news of it
            say(f"nothing more is heard of the training, which goes on: {error}")

    thread = threading.Thread(target=guarded, daemon=True)
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
    told = config["told"]
    if ray.get(told.mistake.remote()):
        return  # Ray starts all workers again; the driver raises it
    try:
        train_worker(run, config["checkpoints"], world, told.tell.remote)
    except UserError as mistake:
        ray.get(told.fail.remote(mistake))
        raise


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
        if not world.sharded and checkpoints.at(FAILED, loop.steps_done) is None:
            # Without the others, which may wait in a collective call for ever.
            state = {"task": loop.inner.state_dict(), "progress": asdict(loop.progress)}
            failed = {"epoch": error.epoch, "step": error.step}
            checkpoints.save(FAILED, loop.steps_done, state | {"failed": failed})
        raise


def _common(checkpoints: Checkpoints, world: World) -> State | None:
    """The newest whole checkpoint, the same one for all workers."""
    state = checkpoints.newest() if world.rank == 0 else None
    step = world.agree(None if state is None else state["step"])
    if step is None:
        return None
    if world.rank:
        state = checkpoints.at(STEP, step)
    if not world.all_have(state):
        raise UserError(
            f"not all workers can read the checkpoint of step {step} in {checkpoints.folder}; set "
            f"machine.storage to a folder or URL that all machines see"
        )
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
