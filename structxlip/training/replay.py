"""A step that failed, done again with an eye on every value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from structxlip.config import StructuralLosses
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.losses import NotFinite
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.checkpoints import State
from structxlip.training.loop import Progress
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun

SHOWN = 5


@dataclass(frozen=True)
class Replayed:
    """What a step did.

    Attributes:
        epoch, step: counted from 1.
        ids: of the pairs of the batch.
        error: why it failed, if it failed again.
        values: losses and the norm of the gradient; none when it failed.
        inputs: parts of the batch that are not finite, each with the ids of its pairs.
        module: the first module whose output is not finite.
        gradients: the largest norms of gradients, those that are not finite first.
    """

    epoch: int
    step: int
    ids: list[str]
    error: str | None
    values: dict[str, float]
    inputs: dict[str, list[str]]
    module: str | None
    gradients: dict[str, float]


def replay_step(run: TrainingRun, state: State) -> Replayed:
    """Do the step again over which ``state`` was saved, on one worker."""
    store = FeatureStore(run.features)
    edges = None
    if isinstance(run.losses, StructuralLosses):
        edges = EdgeMaps(run.edges, store.ids)
    world = World(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    batches = arm_batches(run.params, run.losses, store, edges, world=world)
    model = arm_model(run.params, run.losses, store)
    loop = arm_loop(run.params, run.losses, model, batches, world=world)
    loop.inner.load_state_dict(state["task"])
    loop.progress = Progress(**state["progress"])
    epoch, step = state["failed"]["epoch"], state["failed"]["step"]
    draw = batches.epoch(epoch)[step]
    batch = batches.batch(draw, epoch, step)
    ids, tensors = store.ids[draw.pairs], cast("dict[str, Tensor]", batch)
    error, values = None, {}
    with _first_not_finite(loop.inner.model) as found:
        try:
            values = loop.step(batch, epoch, step)
        except NotFinite as again:
            error = str(again)
    norms = {
        name: float(parameter.grad.norm())
        for name, parameter in loop.inner.named_parameters()
        if parameter.grad is not None
    }
    largest = sorted(
        norms, key=lambda name: (norms[name] == norms[name], -norms[name])
    )  # nan first
    return Replayed(
        epoch + 1,
        step + 1,
        ids.tolist(),
        error,
        values,
        {
            name: ids[~value.isfinite().flatten(1).all(dim=1).numpy()].tolist()
            for name, value in tensors.items()
            if value.is_floating_point() and not value.isfinite().all()
        },
        found[0] if found else None,
        {name: norms[name] for name in largest[:SHOWN]},
    )


@contextmanager
def _first_not_finite(model: nn.Module) -> Iterator[list[str]]:
    """Yield a list that gets the names of modules, in order, that give what is not finite."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def look(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
