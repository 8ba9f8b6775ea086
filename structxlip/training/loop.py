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

from structxlip.config import ArmSettings, FittedTrain
from structxlip.errors import UserError
from structxlip.evaluation.statistics import mean_recall
from structxlip.losses import NotFinite, weight_schedule
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.batches import BatchRows, TrainingBatches
from structxlip.training.checkpoints import SavedState
from structxlip.training.memory import peak_memory_mib
from structxlip.training.optimizer import make_optimizer, rate_factor
from structxlip.training.parallel import World, average_scalars, gradient_norm, unsharded
from structxlip.training.step import Task, backward

_WHOLE = distributed_state.StateDictOptions(full_state_dict=True, cpu_offload=True)
SMOOTHING = 0.98  # of the CLIP loss that is watched: about the last 50 steps
SETTLED_STEPS = 100  # no divergence is declared before
Validate = Callable[[StructXLIP], dict[str, float]]


class TrainingFailed(UserError):
    """A loss or gradient that is not finite, or that grows. The weights are those before the step.

    Attributes:
        epoch: counted from 0.
        step: counted from 0 within the epoch.
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
class TrainingState:
    """The state of a training, beside its weights and its optimiser.

    Attributes:
        epoch: the epoch that comes next, counted from 0.
        step: the step that comes next within that epoch, counted from 0.
        totals: sums of the losses of the epoch so far, divided by the steps of an epoch.
        history: one row for each epoch that ended.
        best: the best epoch by mean R@1 on validation: its number, recall and step.
        smoothed: the smoothed CLIP loss.
        lowest: the lowest value of the smoothed CLIP loss so far.
        stopped: whether ``patience`` epochs have passed without a better validation.
    """

    epoch: int = 0
    step: int = 0
    totals: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] | None = None
    smoothed: float | None = None
    lowest: float = math.inf
    stopped: bool = False

    def is_over(self, settings: FittedTrain) -> bool:
        """Whether no step is left."""
        return self.stopped or self.epoch == settings.epochs


@dataclass(frozen=True)
class StepResult:
    """The result of one training step.

    Attributes:
        step: steps done since the start of the run.
        total_steps: steps of a whole run.
        metrics: losses, loss weights, learning rate, speed and memory.
        epoch: the row of the epoch, where this step ended one.
        is_best: whether that epoch is the best so far.
    """

    step: int
    total_steps: int
    metrics: dict[str, float]
    epoch: dict[str, float] | None = None
    is_best: bool = False


class Loop:
    """Trains a task for the epochs of ``settings``. It can stop and go on after any step.

    Everything random is drawn from the seed, the epoch and the step. So a run that goes on from a
    checkpoint equals the unbroken run, and both arms drop the same features.

    Args:
        task: a ``Task``, as ``distribute`` returns it.
        batches: of this worker.
        settings: of the training.
        arm_settings: for the schedule of the loss weights.
        seed: of dropout.
        world: the workers.
        micro_batch_size: pairs that are computed at once; None for all of the batch.
        loader_threads: that prepare batches ahead.
    """

    def __init__(
        self,
        task: Any,
        batches: TrainingBatches,
        settings: FittedTrain,
        arm_settings: ArmSettings,
        *,
        seed: int,
        world: World | None = None,
        micro_batch_size: int | None = None,
        loader_threads: int = 1,
    ) -> None:
        self.task = task
        self.local_task: Task = getattr(task, "module", task)
        self.batches, self.settings, self.arm_settings = batches, settings, arm_settings
        self.seed, self.world = seed, world or World()
        self.micro_batch_size, self.loader_threads = micro_batch_size, loader_threads
        self.optimizer = make_optimizer(self.local_task.model, self.local_task.loss, settings)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.state = TrainingState()
        self.step_ended_s = 0.0  # by time.monotonic()

    @property
    def steps_done(self) -> int:
        """Steps since the start of the run."""
        return self.state.epoch * self.batches.steps_per_epoch + self.state.step

    def run(self, validate: Validate) -> Iterator[StepResult]:
        """Train the steps that are left. Yields after each step; after each epoch all workers call
        ``validate``, and the first one's numbers count.

        Raises ``TrainingFailed`` before a step would spoil the weights.
        """
        self.step_ended_s = time.monotonic()
        while not self.state.is_over(self.settings):
            epoch, rows = self.state.epoch, self.batches.epoch(self.state.epoch)
            loaded = self.batches.prefetch(rows, epoch, self.state.step, self.loader_threads)
            with closing(loaded):
                for batch_rows, batch in zip(rows[self.state.step :], loaded, strict=True):
                    yield self._next(batch_rows, batch, validate)

    def _next(self, rows: BatchRows, batch: Batch, validate: Validate) -> StepResult:
        state = self.state
        epoch, step = state.epoch, state.step
        try:
            metrics = self.step(batch, epoch, step)
        except NotFinite as error:
            ids = self.batches.store.ids[rows.pairs].tolist()
            what = str(error).partition(";")[0]  # the remedy comes below
            hint = "" if self.world.sharded else ", or look closer with `structxlip replay`"
            raise TrainingFailed(what, epoch, step, rows.pairs.tolist(), ids, hint) from error
        steps = self.batches.steps_per_epoch
        total_steps = steps * self.settings.epochs
        for name, value in metrics.items():
            if name.endswith("loss"):
                state.totals[name] = state.totals.get(name, 0.0) + value / steps
        state.step += 1
        metrics |= self._step_settings(epoch + step / steps)
        before_s, self.step_ended_s = self.step_ended_s, time.monotonic()
        metrics["samples_per_s"] = self.batches.batch_size / (self.step_ended_s - before_s)
        if state.step < steps:
            return StepResult(self.steps_done, total_steps, metrics)
        row = {"epoch": epoch + 1, **state.totals}
        row |= {name: metrics[name] for name in ("learning_rate", "logit_scale")}
        with unsharded(self.task):
            row |= self.world.broadcast(validate(self.local_task.model))
        is_best = self._end_epoch(row)
        return StepResult(self.steps_done, total_steps, metrics, row, is_best)

    def step(self, batch: Batch, epoch: int, step: int) -> dict[str, float]:
        """Train on one batch; returns the losses and the norm of the gradient.

        Raises ``NotFinite`` when a loss or the gradient is not finite, or the loss has grown. No
        weight has changed then.
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
            weight_factors(self.arm_settings, now),
            world=self.world,
            seed=hash((self.seed, epoch, step)) % 2**63,
            micro_batch_size=self.micro_batch_size,
        )
        metrics = dict(zip(losses, torch.stack([*losses.values()]).tolist(), strict=True))
        if not math.isfinite(metrics["loss"]):
            raise NotFinite(f"the loss is {metrics['loss']}")
        for parameter in self.local_task.parameters():
            if parameter.requires_grad and parameter.grad is None:
                # No loss of this arm reads it. AdamW keeps a state for it all the same, so that a
                # checkpoint is whole.
                parameter.grad = torch.zeros_like(parameter)
        average_scalars(self.local_task, self.world)
        metrics["gradient_norm"] = gradient_norm(self.local_task)
        if not math.isfinite(metrics["gradient_norm"]):
            raise NotFinite("the gradient is not finite")
        self._check_divergence(metrics["clip_loss"])
        self.optimizer.step()
        self.local_task.model.clamp_logit_scale()
        return metrics

    def _check_divergence(self, clip_loss: float) -> None:
        """Raise ``NotFinite`` when the loss is well above its lowest value and that of guessing."""
        state = self.state
        before = clip_loss if state.smoothed is None else state.smoothed
        smoothed = SMOOTHING * before + (1 - SMOOTHING) * clip_loss
        limit = 2 * max(state.lowest, math.log(self.batches.batch_size))
        if self.steps_done > SETTLED_STEPS and smoothed > limit:
            raise NotFinite(
                f"the CLIP loss has grown from {state.lowest:.2f} to {smoothed:.2f}, twice that "
                f"of guessing,"
            )
        state.smoothed, state.lowest = smoothed, min(state.lowest, smoothed)

    def _step_settings(self, epoch: float) -> dict[str, float]:
        """The loss weights, learning rate, logit scale and memory at a step."""
        factors, weights = weight_factors(self.arm_settings, epoch), self.local_task.loss.weights
        share = rate_factor(epoch, self.settings.warmup_epochs, self.settings.epochs)
        found = {f"weight/{name}": factor * weights[name] for name, factor in factors.items()}
        found["learning_rate"] = share * self.settings.learning_rate
        found["logit_scale"] = float(self.local_task.model.logit_scale.detach().exp())
        found["memory_mib"] = peak_memory_mib(self.world.device)
        return found

    def _end_epoch(self, row: dict[str, float]) -> bool:
        """Add the row of an epoch to the history; returns whether it is the best so far."""
        state, patience = self.state, self.settings.patience
        recall = mean_recall(row, prefix="val/")
        is_best = state.best is None or recall > state.best["recall"]
        state.history.append(row)
        state.epoch, state.step, state.totals = state.epoch + 1, 0, {}
        if is_best:
            state.best = {"epoch": state.epoch, "recall": recall, "step": self.steps_done}
        assert state.best is not None
        waited = state.epoch - state.best["epoch"]
        state.stopped = patience is not None and waited >= patience
        return is_best

    def saved_state(self) -> SavedState:
        """Everything that going on needs, whole on the first worker. All workers must call it."""
        weights, optimizer = distributed_state.get_state_dict(
            self.task, self.optimizer, options=_WHOLE
        )
        return {
            "task": weights,
            "optimizer": optimizer,
            "state": asdict(self.state),
            "step": self.steps_done,
        }

    def restore(self, saved: SavedState) -> None:
        """Go back to where ``saved`` was taken."""
        distributed_state.set_state_dict(
            self.task,
            self.optimizer,
            model_state_dict=dict(saved["task"]),  # set_state_dict changes its keys
            optim_state_dict=saved["optimizer"],
            options=_WHOLE,
        )
        self.state = TrainingState(**saved["state"])


def weight_factors(arm_settings: ArmSettings, epoch: float) -> dict[str, float]:
    """The factors on the weights of the structural losses at an epoch, by their schedule."""
    if not arm_settings.is_structural:
        return {}
    return {
        name: weight_schedule(1.0, epoch, **loss.schedule.model_dump())
        for name, loss in arm_settings.structural.items()
    }
