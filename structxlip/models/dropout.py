"""Dropout that depends on the place of a row in the batch, not on how the batch is split."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import dropout


class RowDropout(nn.Dropout):
    """``nn.Dropout`` for a part of a batch, which drops what the whole batch would drop.

    From the same state of the random number generator, any number of workers and of micro-batches
    trains the same model.

    Attributes:
        first: the place in the batch of the first row of the input.
        total: the rows of the batch; None when the input is the whole batch.
    """

    first: int = 0
    total: int | None = None

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or not self.p:
            return input
        ones = input.new_ones(self.total or len(input), *input.shape[1:])
        return input * dropout(ones, self.p)[self.first : self.first + len(input)]


def set_batch_rows(model: nn.Module, first: int, total: int) -> None:
    """Tell all ``RowDropout`` of a model the next rows: from ``first`` on, of ``total``."""
    for module in model.modules():
        if isinstance(module, RowDropout):
            module.first, module.total = first, total
