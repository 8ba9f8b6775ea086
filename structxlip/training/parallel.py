"""Workers: one task on one of them or on many, whole on each (DDP) or split over them (FSDP)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

Value = TypeVar("Value")


@dataclass(frozen=True)
class World:
    """The workers of a run, as one of them sees them."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # immutable
    sharded: bool = False

    def broadcast(self, value: Value) -> Value:
        """The value of the first worker. All workers must call it."""
        if self.size == 1:
            return value
        held = [value]
        distributed.broadcast_object_list(held, src=0)
        return held[0]

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The tensors of all workers, which have one shape. All workers must call it."""
        if self.size == 1:
            return [tensor]
        held = [torch.empty_like(tensor) for _ in range(self.size)]
        distributed.all_gather(held, tensor)
        return held

    def all_have(self, value: object) -> bool:
        """Whether no worker has None. All workers must call it."""
        if self.size == 1:
            return value is not None
        held: list[bool] = [False] * self.size
        distributed.all_gather_object(held, value is not None)
        return all(held)


def distribute(task: nn.Module, world: World, *, all_used: bool) -> Any:
    """Move a task to its device and join it with the tasks of the other workers.

    ``all_used``: whether the loss depends on every parameter. Looking for unused ones costs time.
    """
    task.to(world.device)
    if world.sharded:
        return _shard(task, world)
    if world.size > 1:
        return torch.nn.parallel.DistributedDataParallel(task, find_unused_parameters=not all_used)
    return task


def _shard(task: nn.Module, world: World) -> Any:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    for parameter in task.parameters():  # convolutions have their channels last
        parameter.data = parameter.data.contiguous()
    mesh = init_device_mesh(world.device.type, (world.size,))
    for module in task.modules():
        if isinstance(module, nn.ModuleList):  # the blocks of a transformer, one after the other
            for block in module:
                fully_shard(block, mesh=mesh)
    scalars = {parameter for parameter in task.parameters() if not parameter.dim()}
    return fully_shard(task, mesh=mesh, ignored_params=scalars)


@contextmanager
def sync_gradients_if(last: bool, task: Any) -> Iterator[None]:
    """Average gradients over the workers in this backward pass only if it is the step's last."""
    if hasattr(task, "no_sync") and not last:
        with task.no_sync():
            yield
        return
    if hasattr(task, "set_requires_gradient_sync"):
        task.set_requires_gradient_sync(last)
    yield


def average_scalars(task: nn.Module, world: World) -> None:
    """Average the gradients of scalars, which FSDP cannot split and leaves alone."""
    if not world.sharded:
        return
    for parameter in task.parameters():
        if not parameter.dim() and parameter.grad is not None:
            distributed.all_reduce(parameter.grad)
            parameter.grad /= world.size


@contextmanager
def unsharded(task: Any) -> Iterator[None]:
    """Gather the parameters outside of blocks, for calls that bypass ``task.forward``."""
    if not hasattr(task, "unshard"):
        yield
        return
    task.unshard()
    yield
    task.reshard()


def gradient_norm(task: nn.Module) -> float:
    """The norm of all gradients together."""
    gradients = [parameter.grad for parameter in task.parameters() if parameter.grad is not None]
    norm: Any = torch.nn.utils.get_total_norm(gradients)
    full: Tensor = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    return float(full)
