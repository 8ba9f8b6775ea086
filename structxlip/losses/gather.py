"""Gathering over workers with gradient, so that W workers compute the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad


class _GatherRows(torch.autograd.Function):
    """Concatenate the rows of all ranks; the gradient of a rank's rows is summed over ranks.

    Every rank computes the same loss of all rows, so that the sum is the world size times the
    gradient of one; averaging over ranks, as DistributedDataParallel does, makes it exact.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.rows = len(rows)
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # others may share it
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all workers, ``[N_w, …] -> [Σ N_w, …]``, with gradient; the same without workers.

    Workers may hold different numbers of rows, and of parts of a row (the chunks or regions
    ``[N, P, D]``, and their masks ``[N, P]``), which are padded with zeros to the largest.

    Raises ``ValueError`` on every worker when their features differ in size.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
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


def gather_groups(group_ids: Tensor | None, rows: Tensor, *, gather: bool) -> Tensor:
    """The group ids of the gathered ``rows [N, …]``, ``[N]``; by default each is its own group."""
    if group_ids is None:
        return torch.arange(len(rows), device=rows.device)
    return gather_rows(group_ids) if gather else group_ids


def gathered_mean(values: Tensor, valid: Tensor | None, *, gather: bool) -> Tensor:
    """Mean of ``values [N]`` where ``valid`` (boolean ``[N]``, all by default), of all workers with
    ``gather``; 0 with a graph where none is valid."""
    weight = valid.to(values.dtype) if valid is not None else torch.ones_like(values)
    if gather:
        values, weight = gather_rows(values), gather_rows(weight)
    return (values * weight).sum() / weight.sum().clamp(min=1)
