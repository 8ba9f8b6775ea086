"""The training loop that every worker runs, for any number of workers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from structxlip.config import StructuralLosses, Train, Vanilla
from structxlip.data.feature_store import FeatureStore
from structxlip.errors import UserError
from structxlip.evaluation.protocol import embed_split
from structxlip.losses import CompositeLoss, weight_schedule
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.batches import TrainingBatches


class Task(nn.Module):
    """Model and loss: what is trained as one module, so that workers average all gradients.

    Args:
        bf16: run the model in bfloat16 where torch does so by itself; the losses stay in float32.
    """

    def __init__(self, model: StructXLIP, loss: CompositeLoss, *, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.loss, self.bf16 = model, loss, bf16

    def forward(self, batch: Batch, factors: dict[str, float]) -> dict[str, Tensor]:
        device = self.model.logit_scale.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            features = self.model(batch)
        whole: Any = {k: v.float() if v.is_floating_point() else v for k, v in features.items()}
        losses: dict[str, Tensor] = self.loss(whole, factors)
        return losses


def composite_loss(arm: StructuralLosses | Vanilla, dim: int, *, gather: bool) -> CompositeLoss:
    """The loss of an arm; vanilla differs from structxlip in nothing else."""
    if isinstance(arm, Vanilla):
        return CompositeLoss(dim, gather=gather)
    settings = arm.model_dump(exclude={"losses", "schedule", "edge_shift_px"})
    settings["temperature"] = arm.temperature or {"seed": 0.07, "paper": 1.0}[arm.losses]
    return CompositeLoss(dim, recipe=arm.losses, gather=gather, **settings)


@dataclass
class Progress:
    """Where a run stands: the epochs done, and what was seen in each."""

    epochs_done: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


class Loop:
    """Trains a task for the epochs of ``settings``; can stop and go on after any epoch.

    Dropout is drawn from a seed of the step and rank, so that a run that goes on from a checkpoint
    is the unbroken run, and both arms drop the same features.
    """

    def __init__(
        self,
        task: nn.Module,
        batches: TrainingBatches,
        settings: Train,
        arm: StructuralLosses | Vanilla,
        *,
        seed: int,
        rank: int = 0,
        device: torch.device | None = None,
    ) -> None:
        self.task = task
        self.inner: Task = task.module if hasattr(task, "module") else task  # type: ignore[assignment]
        self.batches, self.settings, self.arm = batches, settings, arm
        self.seed, self.rank = seed, rank
        self.device = device or torch.device("cpu")
        self.optimizer = torch.optim.AdamW(
            list(_parameter_groups(self.inner, settings)), lr=settings.learning_rate
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.progress = Progress()

    def run(self, after_epoch: Callable[[Loop], None]) -> None:
        """Train what is left; ``after_epoch`` is called with the loop after each epoch."""
        for epoch in range(self.progress.epochs_done, self.settings.epochs):
            self.progress.history.append(self._epoch(epoch))
            self.progress.epochs_done = epoch + 1
            after_epoch(self)

    def _epoch(self, epoch: int) -> dict[str, float]:
        self.task.train()
        totals: dict[str, float] = {}
        steps = self.batches.steps_per_epoch
        for step, pairs in enumerate(self.batches.epoch(epoch)):
            batch = self.batches.batch(pairs, epoch, step)
            moved: Batch = {k: v.to(self.device) for k, v in batch.items()}  # type: ignore[assignment, attr-defined]
            now = epoch + step / steps
            torch.manual_seed(hash((self.seed, epoch, step, self.rank)) % 2**63)
            share = rate_factor(now, self.settings.warmup_epochs, self.settings.epochs)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * share
            try:
                losses = self.task(moved, weight_factors(self.arm, now))
            except ValueError as error:  # features that are not finite
                raise UserError(f"epoch {epoch + 1}, step {step + 1}: {error}") from error
            if not torch.isfinite(losses["loss"]):
                raise UserError(
                    f"epoch {epoch + 1}, step {step + 1}: the loss is {float(losses['loss'])}; "
                    f"lower train.learning_rate"
                )
            self.optimizer.zero_grad()
            losses["loss"].backward()
            self.optimizer.step()
            self.inner.model.clamp_logit_scale()
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + float(value.detach()) / steps
        scale = float(self.inner.model.logit_scale.detach().exp())
        return {
            "epoch": epoch + 1,
            **totals,
            "learning_rate": share * self.settings.learning_rate,
            "logit_scale": scale,
        }

    def save(self, directory: Path) -> None:
        """Write everything that going on needs."""
        state = {"task": self.inner.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, directory / "state.pt")
        (directory / "progress.json").write_text(json.dumps(vars(self.progress)))

    def restore(self, directory: Path) -> None:
        state = torch.load(directory / "state.pt", map_location=self.device, weights_only=True)
        self.inner.load_state_dict(state["task"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**json.loads((directory / "progress.json").read_text()))


def weight_factors(arm: StructuralLosses | Vanilla, epoch: float) -> dict[str, float]:
    """What the weights of the structural losses are multiplied by at an epoch."""
    if isinstance(arm, Vanilla):
        return {}
    shape = arm.schedule.model_dump(exclude={"floors"})
    return {
        name: weight_schedule(1.0, epoch, **shape, floor=floor)
        for name, floor in arm.schedule.floors.model_dump().items()
    }


def rate_factor(epoch: float, warmup_epochs: int, epochs: int) -> float:
    """The learning rate's share: linear warm-up, then half a cosine to 0."""
    if epoch < warmup_epochs:
        return (epoch + 1e-2) / (warmup_epochs + 1e-2)
    return (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs))) / 2


def _parameter_groups(task: Task, settings: Train) -> Iterator[dict[str, Any]]:
    """Weight decay on matrices and convolutions, not on biases, norms and the logit scale; a CLIP
    that is trained may have a learning rate of its own, beside parts that start from nothing."""
    clip = {id(p) for p in getattr(task.model, "clip", nn.Module()).parameters()}
    rates = settings.learning_rate, settings.clip_learning_rate or settings.learning_rate
    for of_clip, rate in enumerate(rates):
        chosen = [p for p in task.parameters() if p.requires_grad and (id(p) in clip) == of_clip]
        for decays, decay in ((True, settings.weight_decay), (False, 0.0)):
            group = [p for p in chosen if (p.dim() > 1) == decays]
            yield {"params": group, "weight_decay": decay, "lr": rate}


def validation_recall(model: StructXLIP, store: FeatureStore) -> dict[str, float]:
    """R@1 both ways on the validation split, without the edge branch, in percent."""
    metrics = embed_split(model, store, None, "val", 0.0).ranks().recall((1,))
    return {f"val/{name}": value for name, value in metrics.items()}
