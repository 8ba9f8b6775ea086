"""Gathering over workers with gradient, so that W workers compute the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


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
        gradient = gradient.contiguous()
        dist.all_reduce(gradient)
        start = dist.get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gather_rows(tensor: Tensor) -> Tensor:
    """The rows of all workers, ``[N, …] -> [W·N, …]``, with gradient; without workers the same.

    Every worker must hold the same number of rows. A second dimension that differs between
    workers (chunks, regions) is padded with zeros to the largest first.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return tensor
    if tensor.dim() > 1:
        size = torch.tensor([tensor.shape[1]], device=tensor.device)
        dist.all_reduce(size, op=dist.ReduceOp.MAX)
        missing = int(size) - tensor.shape[1]
        if missing:
            padding = tensor.new_zeros(len(tensor), missing, *tensor.shape[2:])
            tensor = torch.cat([tensor, padding], dim=1)
    if tensor.dtype == torch.bool:  # gloo does not gather booleans
        return gather_rows(tensor.to(torch.uint8)).to(torch.bool)
    return _GatherRows.apply(tensor)


def gathered_mean(values: Tensor, valid: Tensor | None, *, gather: bool) -> Tensor:
    """Mean of ``values [N]`` where ``valid`` (boolean ``[N]``, all by default), of all workers with
    ``gather``; 0 with a graph where none is valid."""
    weight = valid.to(values.dtype) if valid is not None else torch.ones_like(values)
    if gather:
        values, weight = gather_rows(values), gather_rows(weight)
    return (values * weight).sum() / weight.sum().clamp(min=1)
