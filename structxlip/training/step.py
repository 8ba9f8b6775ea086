"""One training step: the model, its loss, and the gradients of a batch that memory may not hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

from structxlip.config import StructuralLosses, Vanilla
from structxlip.losses import CompositeLoss, Features
from structxlip.models.dropout import place_rows
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.parallel import World, synchronised


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
        slopes: dict[str, Tensor] | None = None,
        loss_slopes: list[Tensor | None] | None = None,
    ) -> Any:
        """The losses of a batch; without ``factors`` its features.

        With ``slopes``, the gradients of the loss by each feature, a number instead whose gradient
        by each weight of the model is that of the loss; ``loss_slopes``, those by the parameters of
        the loss itself, are added to it.
        """
        features = self._features(batch)
        if factors is not None:
            return self.loss(features, factors)
        if slopes is None:
            return features
        products = [(features[name] * slope).sum() for name, slope in slopes.items()]  # type: ignore[literal-required]
        for parameter, slope in zip(self.loss.parameters(), loss_slopes or [], strict=False):
            if slope is not None:
                products.append((parameter * slope).sum())
        return torch.stack(products).sum()

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
    leaves = {k: v for k, v in features.items() if cast(Tensor, v).requires_grad}
    parameters = [*inner.loss.parameters()]
    slopes = torch.autograd.grad(
        losses["loss"], [*cast(Any, leaves).values(), *parameters], allow_unused=True
    )
    by_feature = {k: s for k, s in zip(leaves, slopes, strict=False) if s is not None}
    for offset, part in parts:
        place(offset)
        last = offset == parts[-1][0]
        rows = slice(offset, offset + len(part["image"]))
        # What the micro-batches share, such as the temperature, is passed on once.
        own = {k: s[rows] if s.dim() else s for k, s in by_feature.items() if s.dim() or last}
        with synchronised(task, last):
            task(part, None, own, list(slopes[len(leaves) :]) if last else None).backward()
    return losses


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
