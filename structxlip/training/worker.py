"""One worker's share of a training: from the newest checkpoint to the last step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

from structxlip.config import Machine
from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.progress import say
from structxlip.training.assembly import assemble
from structxlip.training.checkpoints import BEST, FAILED, STEP, Checkpoints, SavedState
from structxlip.training.loop import Loop, StepResult, TrainingFailed
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.validation import validation_recall


def train_worker(
    run: TrainingRun,
    checkpoints: Checkpoints,
    world: World,
    report: Callable[[StepResult], object],
) -> None:
    """Train one worker's share, from the newest checkpoint on.

    The first worker calls ``report`` after every ``machine.log_steps`` steps and after each epoch.
    All workers write checkpoints together where the model is sharded; else the first one does.

    Raises ``TrainingFailed`` when the run diverges; the state before the step is then saved.
    """
    training, machine = assemble(run, world), run.params.machine
    loop = training.loop
    if saved := _shared_checkpoint(checkpoints, world):
        loop.restore(saved)
        if world.rank == 0:
            say(f"going on after step {loop.steps_done:,} (epoch {loop.state.epoch + 1})")
    checkpoint_due = _CheckpointSchedule(machine, loop)

    def validate(model: StructXLIP) -> dict[str, float]:
        return validation_recall(model, training.store, world, run.train.val_images)

    try:
        for result in loop.run(validate):
            if world.rank == 0 and (result.epoch or result.step % machine.log_steps == 0):
                report(result)
            if result.is_best:
                _save(checkpoints, BEST, loop)
            if checkpoint_due(result):
                _save(checkpoints, STEP, loop)
    except TrainingFailed as error:
        if not world.sharded and checkpoints.at(FAILED, loop.steps_done) is None:
            # This worker alone: the others may wait in a collective call for ever.
            saved = {"task": loop.local_task.state_dict(), "state": asdict(loop.state)}
            failed = {"epoch": error.epoch, "step": error.step}
            checkpoints.save(FAILED, loop.steps_done, saved | {"failed": failed})
        raise


def _shared_checkpoint(checkpoints: Checkpoints, world: World) -> SavedState | None:
    """The newest whole checkpoint, the same one on all workers."""
    saved = checkpoints.newest() if world.rank == 0 else None
    step = world.broadcast(None if saved is None else saved["step"])
    if step is None:
        return None
    if world.rank:
        saved = checkpoints.at(STEP, step)
    if not world.all_have(saved):
        raise UserError(
            f"not all workers can read the checkpoint of step {step} in {checkpoints.folder}; set "
            f"machine.storage to a folder or URL that all machines see"
        )
    return saved


class _CheckpointSchedule:
    """Whether a checkpoint is due: at the end of an epoch, or every so many steps or minutes."""

    def __init__(self, machine: Machine, loop: Loop) -> None:
        self.machine, self.loop, self.last_s = machine, loop, time.monotonic()

    def __call__(self, result: StepResult) -> bool:
        steps, minutes = self.machine.checkpoint_steps, self.machine.checkpoint_minutes
        due = result.epoch is not None or (steps is not None and result.step % steps == 0)
        if not due and minutes is not None:
            due = time.monotonic() - self.last_s > 60 * minutes
            if self.loop.world.sharded:  # all workers write it together
                due = self.loop.world.broadcast(due)
        if due:
            self.last_s = time.monotonic()
        return due


def _save(checkpoints: Checkpoints, kind: str, loop: Loop) -> None:
    if loop.world.rank and not loop.world.sharded:
        return
    saved = loop.saved_state()
    if kind == BEST:
        saved = {"task": saved["task"]}
    if loop.world.rank == 0:
        checkpoints.save(kind, loop.steps_done, saved)
