"""Gathering over workers with gradient, so that W workers compute the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


class _GatherRows(torch.autograd.Function):
    """Concatenate the rows of all ranks; the gradient of a rank's rows is summed over ranks.

    Every rank goes back from the same loss, so that the sum is the world size times the gradient
    of one; averaging over ranks, as DistributedDataParallel does, makes it exact.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        parts = [*gradient.contiguous().split(ctx.rows)] if ctx.rows else []
        own = gradient.new_empty((ctx.rows, *gradient.shape[1:]))
        if parts:
            dist.reduce_scatter(own, parts)
        return own


class _Sum(torch.autograd.Function):
    """The sum of the terms of all ranks. Every rank goes back from it, so that its gradient, summed
    over ranks as that of ``_GatherRows`` is, is the world size times that of one."""

    @staticmethod
    def forward(ctx: Any, term: Tensor) -> Tensor:
        total = term.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * dist.get_world_size()


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all workers, ``[N_w, …] -> [Σ N_w, …]``, with gradient; the same without workers.

    Workers may hold different numbers of rows, and of parts of a row (the chunks or regions
    ``[N, P, D]``, and their masks ``[N, P]``), which are padded with zeros to the largest.

    Raises ``ValueError`` on every worker when their features differ in size.
    """
    if not _has_workers():
        return tensor
    own = torch.tensor(tensor.shape, device=tensor.device)
    shapes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(shapes, own)
    sizes = torch.stack(shapes).cpu()
    fixed = sizes[:, 2 if tensor.dtype == torch.bool or tensor.dim() > 2 else 1 :]
    if (fixed != fixed[0]).any():
        raise ValueError(f"features must have one size on all workers, got {fixed.tolist()}")
    missing = (sizes.amax(dim=0) - own.cpu()).tolist()
    tensor = pad(tensor, [n for after in reversed(missing) for n in (0, after)])
    if tensor.dtype == torch.bool:  # gloo does not gather booleans
        gathered = _GatherRows.apply(tensor.to(torch.uint8)).to(torch.bool)
    else:
        gathered = _GatherRows.apply(tensor)
    held = torch.arange(len(tensor)) < sizes[:, :1]
    return gathered if held.all() else gathered[held.flatten().to(gathered.device)]


def sum_workers(term: Tensor) -> Tensor:
    """The sum of a scalar of each worker, with gradient; the same without workers.

    A worker adds up the costs of its own rows only; this makes their sum the loss of all rows.
    """
    if not _has_workers():
        return term
    total: Tensor = _Sum.apply(term)
    return total


def own_groups(group_ids: Tensor | None, rows: Tensor) -> Tensor:
    """The group ids ``[N]`` of this worker's ``rows [N, …]``; by default each row of all workers is
    its own group."""
    if group_ids is not None:
        return group_ids
    first = dist.get_rank() << 32 if _has_workers() else 0
    return first + torch.arange(len(rows), device=rows.device)


def gathered_mean(values: Tensor, valid: Tensor | None, *, gather: bool) -> Tensor:
    """Mean of ``values [N]`` where ``valid`` (boolean ``[N]``, all by default), of all workers with
    ``gather``; 0 with a graph where none is valid."""
    weight = valid.to(values.dtype) if valid is not None else torch.ones_like(values)
    if gather:
        values, weight = gather_rows(values), gather_rows(weight)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def _has_workers() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
