"""The training loop that every worker runs, for any number of workers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch.distributed.checkpoint import state_dict as distributed_state

from structxlip.config import StructuralLosses, Train, Vanilla
from structxlip.data.feature_store import FeatureStore
from structxlip.errors import UserError
from structxlip.evaluation.curves import mean_recall
from structxlip.evaluation.protocol import embed_split
from structxlip.losses import NotFinite, weight_schedule
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.batches import Draw, TrainingBatches
from structxlip.training.checkpoints import State
from structxlip.training.memory import peak_memory_mib
from structxlip.training.optimizer import make_optimizer, rate_factor
from structxlip.training.parallel import World, average_scalars, gradient_norm, whole
from structxlip.training.step import Task, backward

_WHOLE = distributed_state.StateDictOptions(full_state_dict=True, cpu_offload=True)
SMOOTHING = 0.98  # of the loss that is watched: about the last 50 steps
SETTLED_STEPS = 100
Validate = Callable[[StructXLIP], dict[str, float]]


class TrainingFailed(UserError):
    """A loss or gradient that is not finite, or that grows; the weights are those before the step.

    Attributes:
        epoch, step: counted from 0, the step within the epoch.
        pairs: rows of the pair store.
    """

    def __init__(
        self, what: str, epoch: int, step: int, pairs: list[int], ids: list[str], hint: str
    ) -> None:
        shown = ", ".join(ids[:4]) + (f" and {len(ids) - 4} more" if len(ids) > 4 else "")
        super().__init__(
            f"epoch {epoch + 1}, step {step + 1}: {what} on the pairs {shown}; lower "
            f"train.learning_rate{hint}"
        )
        self.arguments = (what, epoch, step, pairs, ids, hint)
        self.epoch, self.step, self.pairs = epoch, step, pairs

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments


@dataclass
class Progress:
    """Where a run stands, and what was seen on the way.

    Attributes:
        epoch, step: what comes next; the step is counted within the epoch.
        totals: losses of the epoch so far, each divided by the steps of an epoch.
        history: a row an epoch.
        best: of ``history``, by mean R@1 on validation: the number of the epoch and its recall.
        smoothed, lowest: the CLIP loss over the last steps, and the least that this was.
        stopped: whether validation has not become better for ``patience`` epochs.
    """

    epoch: int = 0
    step: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    smoothed: float | None = None
    lowest: float = math.inf
    stopped: bool = False

    def is_over(self, settings: Train) -> bool:
        """Whether nothing is left to train."""
        return self.stopped or self.epoch == settings.epochs


@dataclass(frozen=True)
class Done:
    """What is known after a step.

    Attributes:
        step, total: steps done since the start of the run, and those of a whole run.
        seen: losses, weights of the losses, learning rate, speed and memory.
        epoch: the row of the epoch that ended with this step.
        best: whether that epoch is the best so far.
    """

    step: int
    total: int
    seen: dict[str, float]
    epoch: dict[str, float] | None = None
    best: bool = False


class Loop:
    """Trains a task for the epochs of ``settings``; can stop and go on after any step.

    Whatever is random is drawn from the seed, the epoch and the step, so that a run that goes on
    from a checkpoint is the unbroken run, and both arms drop the same features.
    """

    def __init__(
        self,
        task: Any,
        batches: TrainingBatches,
        settings: Train,
        arm: StructuralLosses | Vanilla,
        *,
        seed: int,
        world: World | None = None,
        micro_batch_size: int | None = None,
        loader_threads: int = 1,
    ) -> None:
        self.task = task
        self.inner: Task = getattr(task, "module", task)
        self.batches, self.settings, self.arm = batches, settings, arm
        self.seed, self.world = seed, world or World()
        self.micro_batch_size, self.loader_threads = micro_batch_size, loader_threads
        self.optimizer = make_optimizer(self.inner.model, self.inner.loss, settings)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.progress = Progress()
        self.since = 0.0  # when the last step ended, of time.monotonic()

    @property
    def steps_done(self) -> int:
        return self.progress.epoch * self.batches.steps_per_epoch + self.progress.step

    def run(self, validate: Validate) -> Iterator[Done]:
        """Train what is left; yields after each step, and validates after each epoch.

        Raises ``TrainingFailed`` before a step would spoil the weights.
        """
        progress, self.since = self.progress, time.monotonic()
        while not progress.is_over(self.settings):
            epoch, draws = progress.epoch, self.batches.epoch(progress.epoch)
            loaded = self.batches.ahead(draws, epoch, progress.step, self.loader_threads)
            with closing(loaded):
                for draw, batch in zip(draws[progress.step :], loaded, strict=True):
                    yield self._next(draw, batch, validate)

    def _next(self, draw: Draw, batch: Batch, validate: Validate) -> Done:
        progress = self.progress
        epoch, step = progress.epoch, progress.step
        try:
            seen = self.step(batch, epoch, step)
        except NotFinite as error:
            ids = self.batches.store.ids[draw.pairs].tolist()
            what = str(error).partition(";")[0]  # what to do about it comes below
            hint = "" if self.world.sharded else ", or look closer with `structxlip replay`"
            raise TrainingFailed(what, epoch, step, draw.pairs.tolist(), ids, hint) from error
        steps = self.batches.steps_per_epoch
        total = steps * self.settings.epochs
        for name, value in seen.items():
            if name.endswith("loss"):
                progress.totals[name] = progress.totals.get(name, 0.0) + value / steps
        progress.step += 1
        seen |= self._around(epoch + step / steps)
        since, self.since = self.since, time.monotonic()
        seen["samples_per_s"] = self.batches.batch_size / (self.since - since)
        if progress.step < steps:
            return Done(self.steps_done, total, seen)
        row = {"epoch": epoch + 1, **progress.totals}
        row |= {name: seen[name] for name in ("learning_rate", "logit_scale")}
        with whole(self.task):
            row |= self.world.agree(self._validation(validate))
        best = self._end_epoch(row)
        return Done(self.steps_done, total, seen, row, best)

    def step(self, batch: Batch, epoch: int, step: int) -> dict[str, float]:
        """Train on one batch; returns the losses and the norm of the gradient.

        Raises ``NotFinite`` when one of them is, or when the loss has grown, before any weight is
        changed.
        """
        now = epoch + step / self.batches.steps_per_epoch
        share = rate_factor(now, self.settings.warmup_epochs, self.settings.epochs)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        device: Any = self.world.device
        moved: Any = {k: v.to(device, non_blocking=True) for k, v in batch.items()}  # type: ignore[attr-defined]
        self.task.train()
        self.optimizer.zero_grad()
        losses = backward(
            self.task,
            moved,
            weight_factors(self.arm, now),
            world=self.world,
            seed=hash((self.seed, epoch, step)) % 2**63,
            micro_batch_size=self.micro_batch_size,
        )
        seen = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
        if not math.isfinite(seen["loss"]):
            raise NotFinite(f"the loss is {seen['loss']}")
        for parameter in self.inner.parameters():
            if parameter.requires_grad and parameter.grad is None:
                # No loss of this arm reads it; AdamW has a state for it all the same, and a
                # checkpoint is whole.
                parameter.grad = torch.zeros_like(parameter)
        average_scalars(self.inner, self.world)
        seen["gradient_norm"] = gradient_norm(self.inner)
        if not math.isfinite(seen["gradient_norm"]):
            raise NotFinite("the gradient is not finite")
        self._watch(seen["clip_loss"])
        self.optimizer.step()
        self.inner.model.clamp_logit_scale()
        return seen

    def _watch(self, clip_loss: float) -> None:
        """Raise ``NotFinite`` when the loss is well above what it was, and that of guessing."""
        progress = self.progress
        before = clip_loss if progress.smoothed is None else progress.smoothed
        smoothed = SMOOTHING * before + (1 - SMOOTHING) * clip_loss
        limit = 2 * max(progress.lowest, math.log(self.batches.batch_size))
        if self.steps_done > SETTLED_STEPS and smoothed > limit:
            raise NotFinite(
                f"the CLIP loss has grown from {progress.lowest:.2f} to {smoothed:.2f}, twice that "
                f"of guessing,"
            )
        progress.smoothed, progress.lowest = smoothed, min(progress.lowest, smoothed)

    def _around(self, epoch: float) -> dict[str, float]:
        """What belongs to a step beside its losses."""
        factors, weights = weight_factors(self.arm, epoch), self.inner.loss.weights
        share = rate_factor(epoch, self.settings.warmup_epochs, self.settings.epochs)
        around = {f"lambda/{name}": factor * weights[name] for name, factor in factors.items()}
        around["learning_rate"] = share * self.settings.learning_rate
        around["logit_scale"] = float(self.inner.model.logit_scale.detach().exp())
        around["memory_mib"] = peak_memory_mib(self.world.device)
        return around

    def _validation(self, validate: Validate) -> dict[str, float]:
        """By the first worker alone, unless the model is spread over all of them."""
        if self.world.rank and not self.world.sharded:
            return {}
        return validate(self.inner.model)

    def _end_epoch(self, row: dict[str, float]) -> bool:
        progress, patience = self.progress, self.settings.patience
        recall = mean_recall(row)
        best = progress.best is None or recall > progress.best["recall"]
        progress.history.append(row)
        progress.epoch, progress.step, progress.totals = progress.epoch + 1, 0, {}
        if best:
            progress.best = {"epoch": progress.epoch, "recall": recall, "step": self.steps_done}
        assert progress.best is not None
        since = progress.epoch - progress.best["epoch"]
        progress.stopped = patience is not None and since >= patience
        return best

    def state(self) -> State:
        """Everything that going on needs, whole on the first worker; all workers must ask."""
        weights, optimizer = distributed_state.get_state_dict(
            self.task, self.optimizer, options=_WHOLE
        )
        return {
            "task": weights,
            "optimizer": optimizer,
            "progress": asdict(self.progress),
            "step": self.steps_done,
        }

    def restore(self, state: State) -> None:
        """Stand where ``state`` was taken."""
        distributed_state.set_state_dict(
            self.task,
            self.optimizer,
            model_state_dict=dict(state["task"]),  # whose names it changes
            optim_state_dict=state["optimizer"],
            options=_WHOLE,
        )
        self.progress = Progress(**state["progress"])


def weight_factors(arm: StructuralLosses | Vanilla, epoch: float) -> dict[str, float]:
    """What the weights of the structural losses are multiplied by at an epoch."""
    if isinstance(arm, Vanilla):
        return {}
    shape = arm.schedule.model_dump(exclude={"floors"})
    return {
        name: weight_schedule(1.0, epoch, **shape, floor=floor)
        for name, floor in arm.schedule.floors.model_dump().items()
    }


def validation_recall(model: StructXLIP, store: FeatureStore) -> dict[str, float]:
    """R@1 both ways on the validation split, without the edge branch, in percent."""
    metrics = embed_split(model, store, None, "val", 0.0).ranks().recall((1,))
    return {f"val/{name}": value for name, value in metrics.items()}
