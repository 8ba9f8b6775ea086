"""One training step: the model, its loss, and the gradients of a batch that memory may not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from structxlip.config import StructuralLosses, Vanilla
from structxlip.losses import CompositeLoss, Features
from structxlip.models.dropout import place_rows
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.parallel import World, synchronised


class Slopes(NamedTuple):
    """The gradients of a loss by the features that it reads, and by its own parameters."""

    by_feature: dict[str, Tensor]
    by_parameter: list[Tensor | None]

    def of(self, rows: slice, *, shared: bool) -> Slopes:
        """Of a micro-batch; what all of them share, such as the temperature, only with
        ``shared``."""
        own = {
            k: s[rows] if s.dim() else s for k, s in self.by_feature.items() if s.dim() or shared
        }
        return Slopes(own, self.by_parameter if shared else [None] * len(self.by_parameter))

    def product(self, features: Features, loss: nn.Module) -> Tensor:
        """Whose gradients these are."""
        made = cast("dict[str, Tensor]", features)
        pairs = [(made[name], slope) for name, slope in self.by_feature.items()]
        for parameter, slope in zip(loss.parameters(), self.by_parameter, strict=True):
            if slope is not None:
                pairs.append((parameter, slope))
        return torch.stack([(value * slope).sum() for value, slope in pairs]).sum()


class Task(nn.Module):
    """Model and loss: what is trained as one module, so that workers average all gradients.

    Args:
        bf16: run the model in bfloat16 where torch does so by itself; the losses stay in float32.
    """

    def __init__(self, model: StructXLIP, loss: CompositeLoss, *, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.loss, self.bf16 = model, loss, bf16

    def forward(
        self,
        batch: Batch,
        factors: dict[str, float] | None = None,
        slopes: Slopes | None = None,
    ) -> Any:
        """The losses of a batch with ``factors``, else its features.

        With ``slopes`` a number instead, whose gradient by each weight is that of their loss. All
        of it is one method since workers are joined, and weights gathered, around ``forward``.
        """
        features = self._features(batch)
        if factors is not None:
            return self.loss(features, factors)
        return features if slopes is None else slopes.product(features, self.loss)

    def _features(self, batch: Batch) -> Features:
        """In float32."""
        device = self.model.logit_scale.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            features = self.model(batch)
        made = {k: v.float() if v.is_floating_point() else v for k, v in features.items()}
        return cast(Features, made)


def composite_loss(arm: StructuralLosses | Vanilla, dim: int, *, gather: bool) -> CompositeLoss:
    """The loss of an arm; vanilla differs from structxlip in nothing else."""
    if isinstance(arm, Vanilla):
        return CompositeLoss(dim, gather=gather)
    settings = arm.model_dump(exclude={"losses", "schedule", "edge_shift_px"})
    settings["temperature"] = arm.temperature or {"seed": 0.07, "paper": 1.0}[arm.losses]
    return CompositeLoss(dim, recipe=arm.losses, gather=gather, **settings)


def backward(
    task: Any,
    batch: Batch,
    factors: dict[str, float],
    *,
    world: World,
    seed: int,
    micro_batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Add the gradients of the loss of a batch to those of the weights, and return the losses.

    With a ``micro_batch_size`` below that of the batch, the memory is that of a micro-batch and the
    loss still that of the whole batch: features are made without a graph, the loss gives the
    gradient by each of them, and each micro-batch is run again to pass its part on (GradCache, Gao
    et al., 2021, arXiv 2101.06983).

    Args:
        task: a ``Task``, as ``spread`` gives it back.
        seed: of dropout.
    """
    inner: Task = getattr(task, "module", task)
    count = len(batch["image"])
    first, total = world.rank * count, world.size * count

    def place(offset: int) -> None:
        torch.manual_seed(seed)
        place_rows(inner.model, first + offset, total)

    if micro_batch_size is None or micro_batch_size >= count:
        place(0)
        losses: dict[str, Tensor] = task(batch, factors)
        losses["loss"].backward()
        return losses
    parts = list(_cut(batch, micro_batch_size))
    made: list[Features] = []
    with torch.no_grad():
        for offset, part in parts:
            place(offset)
            made.append(task(part))
    features = _joined(made)
    losses = inner.loss(features, factors)
    slopes = _slopes(losses["loss"], features, inner.loss)
    for offset, part in parts:
        place(offset)
        last = offset == parts[-1][0]
        own = slopes.of(slice(offset, offset + len(part["image"])), shared=last)
        with synchronised(task, last):
            task(part, None, own).backward()
    return losses


def _slopes(loss: Tensor, features: Features, module: nn.Module) -> Slopes:
    leaves = {k: v for k, v in cast("dict[str, Tensor]", features).items() if v.requires_grad}
    parameters = [*module.parameters()]
    found = torch.autograd.grad(loss, [*leaves.values(), *parameters], allow_unused=True)
    by_feature = zip(leaves, found[: len(leaves)], strict=True)
    return Slopes({k: s for k, s in by_feature if s is not None}, list(found[len(leaves) :]))


def _cut(batch: Batch, size: int) -> Iterator[tuple[int, Batch]]:
    """Micro-batches and where they begin."""
    tensors: dict[str, Tensor] = batch  # type: ignore[assignment]
    for start in range(0, len(batch["image"]), size):
        yield start, cast(Batch, {k: v[start : start + size] for k, v in tensors.items()})


def _joined(made: list[Features]) -> Features:
    """The features of a batch from those of its micro-batches, as leaves of a new graph."""
    joined: dict[str, Tensor] = {}
    for name, value in cast("dict[str, Tensor]", made[0]).items():
        parts = [cast("dict[str, Tensor]", features)[name] for features in made]
        joined[name] = torch.cat(parts) if value.dim() else value.clone()
        if joined[name].is_floating_point():
            joined[name].requires_grad_()
    return cast(Features, joined)
