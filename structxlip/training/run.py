"""A run of an arm: what it is, the share of one worker, and what it has come to."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from structxlip.config import Arm, Params, StructuralLosses, Vanilla
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.errors import UserError
from structxlip.models.edge_encoder import LAYERS
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import named_files
from structxlip.progress import say
from structxlip.training.arm import arm_batches, arm_loop, arm_model, arm_task
from structxlip.training.checkpoints import BEST, FAILED, STEP, Checkpoints, State
from structxlip.training.loop import Done, Loop, Progress, TrainingFailed, validation_recall
from structxlip.training.parallel import World

WEIGHTS = Path("assets/models")


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
        digest.update(f"{params.seed} {LAYERS}".encode())
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
    arm_task(run.params, run.losses, model).load_state_dict(state["task"])
    model.finish(lambda: arm_model(run.params, run.losses, store), settings.tuned_share)
    return model.eval(), progress.history


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
