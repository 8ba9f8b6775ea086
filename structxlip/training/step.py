"""One training step: the model, its loss, and gradients of a batch larger than memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from structxlip.losses import CompositeLoss, Features
from structxlip.models.dropout import set_batch_rows
from structxlip.models.structxlip import Batch, StructXLIP
from structxlip.training.parallel import World, sync_gradients_if


class LossGradients(NamedTuple):
    """The gradients of a loss with respect to the features that it reads and its own parameters."""

    by_feature: dict[str, Tensor]
    by_parameter: list[Tensor | None]

    def of_rows(self, rows: slice, *, shared: bool) -> LossGradients:
        """The gradients of a micro-batch. Those that all micro-batches share, such as the one of
        the temperature, are in it only with ``shared``."""
        by_feature = {
            name: gradient[rows] if gradient.dim() else gradient
            for name, gradient in self.by_feature.items()
            if gradient.dim() or shared
        }
        return LossGradients(
            by_feature, self.by_parameter if shared else [None] * len(self.by_parameter)
        )

    def surrogate(self, features: Features, loss: nn.Module) -> Tensor:
        """A scalar whose gradient, with respect to each weight, is the gradient of the loss: the
        inner product of features and parameters with their gradients."""
        made = cast("dict[str, Tensor]", features)
        pairs = [(made[name], gradient) for name, gradient in self.by_feature.items()]
        for parameter, gradient in zip(loss.parameters(), self.by_parameter, strict=True):
            if gradient is not None:
                pairs.append((parameter, gradient))
        return torch.stack([(value * gradient).sum() for value, gradient in pairs]).sum()


class Task(nn.Module):
    """A model and its loss as one module, so that workers average the gradients of both.

    Args:
        model: gives the features.
        loss: reads them.
        bf16: run the model in bfloat16 by autocast; the losses stay in float32.
    """

    def __init__(self, model: StructXLIP, loss: CompositeLoss, *, bf16: bool = False) -> None:
        super().__init__()
        self.model, self.loss, self.bf16 = model, loss, bf16

    def forward(
        self,
        batch: Batch,
        factors: dict[str, float] | None = None,
        gradients: LossGradients | None = None,
    ) -> Any:
        """The losses of a batch with ``factors``; its features without.

        With ``gradients`` it returns their ``surrogate``. All of it is one method, because DDP and
        FSDP act around ``forward``.
        """
        features = self._features(batch)
        if factors is not None:
            return self.loss(features, factors)
        return features if gradients is None else gradients.surrogate(features, self.loss)

    def _features(self, batch: Batch) -> Features:
        """The features of a batch, in float32."""
        device = self.model.logit_scale.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.bf16):
            features = self.model(batch)
        made = {k: v.float() if v.is_floating_point() else v for k, v in features.items()}
        return cast(Features, made)


def backward(
    task: Any,
    batch: Batch,
    factors: dict[str, float],
    *,
    world: World,
    seed: int,
    micro_batch_size: int | None = None,
) -> dict[str, Tensor]:
    """Add the gradients of the loss of a batch to those of the weights; returns the losses.

    With a ``micro_batch_size`` below that of the batch, memory is that of a micro-batch and the
    loss still that of the whole batch. Features are computed without a graph; the loss gives the
    gradient of each; every micro-batch then runs again to pass its gradients on (GradCache, Gao et
    al., 2021, arXiv 2101.06983).

    Args:
        task: a ``Task``, as ``distribute`` returns it.
        batch: this worker's rows.
        factors: on the weights of the losses.
        world: the workers.
        seed: of dropout.
    """
    local_task: Task = getattr(task, "module", task)
    count = len(batch["image"])
    first, total = world.rank * count, world.size * count

    def seed_dropout(offset: int) -> None:
        torch.manual_seed(seed)
        set_batch_rows(local_task.model, first + offset, total)

    if micro_batch_size is None or micro_batch_size >= count:
        seed_dropout(0)
        losses: dict[str, Tensor] = task(batch, factors)
        losses["loss"].backward()
        return losses
    parts = list(_micro_batches(batch, micro_batch_size))
    made: list[Features] = []
    with torch.no_grad():
        for offset, part in parts:
            seed_dropout(offset)
            made.append(task(part))
    features = _joined(made)
    losses = local_task.loss(features, factors)
    gradients = _loss_gradients(losses["loss"], features, local_task.loss)
    for offset, part in parts:
        seed_dropout(offset)
        last = offset == parts[-1][0]
        own = gradients.of_rows(slice(offset, offset + len(part["image"])), shared=last)
        with sync_gradients_if(last, task):
            task(part, None, own).backward()
    return losses


def _loss_gradients(loss: Tensor, features: Features, module: nn.Module) -> LossGradients:
    leaves = {k: v for k, v in cast("dict[str, Tensor]", features).items() if v.requires_grad}
    inputs = [*leaves.values(), *module.parameters()]
    found: list[Tensor | None] = [*torch.autograd.grad(loss, inputs, allow_unused=True)]
    of_features, of_parameters = found[: len(leaves)], found[len(leaves) :]
    by_feature = zip(leaves, of_features, strict=True)
    return LossGradients({k: g for k, g in by_feature if g is not None}, of_parameters)


def _micro_batches(batch: Batch, size: int) -> Iterator[tuple[int, Batch]]:
    """Micro-batches, each with the place of its first row."""
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
