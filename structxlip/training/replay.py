"""`structxlip replay`: repeat the step over which a training failed, and check every value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from structxlip.config import Arm, Params
from structxlip.errors import UserError
from structxlip.losses import NotFinite
from structxlip.progress import say
from structxlip.training.assembly import assemble
from structxlip.training.checkpoints import FAILED, SavedState
from structxlip.training.loop import TrainingState
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun

GRADIENTS_SHOWN = 5


@dataclass(frozen=True)
class ReplayedStep:
    """The outcome of a repeated step.

    Attributes:
        epoch: counted from 1.
        step: counted from 1 within the epoch.
        ids: of the pairs of the batch.
        error: why it failed again; None when it did not.
        values: losses and the norm of the gradient; empty when it failed.
        inputs: parts of the batch that are not finite, each with the ids of its pairs.
        module: the first module whose output is not finite.
        gradients: the largest norms of gradients by parameter, those that are not finite first.
    """

    epoch: int
    step: int
    ids: list[str]
    error: str | None
    values: dict[str, float]
    inputs: dict[str, list[str]]
    module: str | None
    gradients: dict[str, float]


def replay(params: Params, dataset: str, arm: Arm) -> None:
    """Repeat the failed step of a training and print what is not finite in it.

    Raises ``UserError`` when the step fails again, or when no training has failed.
    """
    run = TrainingRun.of_dataset(params, dataset, arm)
    checkpoints = run.checkpoints()
    saved = checkpoints.newest(FAILED)
    if saved is None:
        raise UserError(
            f"no training of {arm} on {dataset} has failed with these parameters and data; what a "
            f"failed one leaves would be in {checkpoints.folder}"
        )
    done = replay_step(run, saved)
    say(f"epoch {done.epoch}, step {done.step}: the pairs {', '.join(done.ids)}")
    for name, ids in done.inputs.items():
        say(f"not finite in the batch: {name} of {', '.join(ids)}")
    if done.module:
        say(f"not finite first in the model: the output of {done.module}")
    for name, value in (done.values | done.gradients).items():
        say(f"{name} {value:.6g}")
    if done.error:
        raise UserError(f"it failed again: {done.error}")
    say("it did not fail again; `structxlip train` goes on from the newest checkpoint")


def replay_step(run: TrainingRun, saved: SavedState) -> ReplayedStep:
    """Repeat the step over which ``saved`` was written, on one worker."""
    world = World(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    training = assemble(run, world)
    loop, batches = training.loop, training.batches
    loop.local_task.load_state_dict(saved["task"])
    loop.state = TrainingState(**saved["state"])
    epoch, step = saved["failed"]["epoch"], saved["failed"]["step"]
    rows = batches.epoch(epoch)[step]
    batch = batches.batch(rows, epoch, step)
    ids, tensors = training.store.ids[rows.pairs], cast("dict[str, Tensor]", batch)
    error, values = None, {}
    with _modules_not_finite(loop.local_task.model) as modules:
        try:
            values = loop.step(batch, epoch, step)
        except NotFinite as again:
            error = str(again)
    norms = {
        name: float(parameter.grad.norm())
        for name, parameter in loop.local_task.named_parameters()
        if parameter.grad is not None
    }
    nan_first = sorted(norms, key=lambda name: (norms[name] == norms[name], -norms[name]))
    return ReplayedStep(
        epoch=epoch + 1,
        step=step + 1,
        ids=ids.tolist(),
        error=error,
        values=values,
        inputs={
            name: ids[~value.isfinite().flatten(1).all(dim=1).numpy()].tolist()
            for name, value in tensors.items()
            if value.is_floating_point() and not value.isfinite().all()
        },
        module=modules[0] if modules else None,
        gradients={name: norms[name] for name in nan_first[:GRADIENTS_SHOWN]},
    )


@contextmanager
def _modules_not_finite(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that collects the names of modules whose outputs are not finite, in order."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def check(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return check

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
