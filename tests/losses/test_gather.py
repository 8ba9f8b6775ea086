"""Two workers give the loss and the gradients of one, for every loss."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from structxlip.losses import (
    ContrastiveLoss,
    CosineConsistencyLoss,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
)

PAIRS, DIM = 6, 4


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(PAIRS, 3, DIM, generator=generator)
    second = torch.randn(PAIRS, 3, DIM, generator=generator)
    # Unequal numbers of valid samples and of chunks in the two halves; one has none in a row.
    valid = torch.tensor([True, False, False, True, True, True])
    chunks = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    return first, second, valid, chunks


def losses(part: slice, gather: bool, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each loss of a part of the batch, with the gradient of a shared linear layer."""
    first, second, valid, chunks = (value[part] for value in inputs())
    width = int(chunks.sum(dim=1).max())  # as a collator would: the widest of this worker
    consistency = ProjectedL2ConsistencyLoss(DIM, gather=gather)
    group_ids = torch.tensor([0, 1, 2, 0, 4, 5])[part]
    computed = [
        lambda: ContrastiveLoss(gather)(
            model(first[:, 0]), model(second[:, 0]), 5.0, valid, group_ids
        ),
        lambda: RegionChunkAttentionLoss(gather=gather)(
            model(first[:, :width]), chunks[:, :width], model(second)
        ),
        lambda: SigmoidContrastiveLoss(gather=gather)(
            model(first[:, 0]), model(second[:, 0]), 5.0, valid, group_ids
        ),
        lambda: RegionChunkLoss(gather=gather)(
            model(first[:, :width]), chunks[:, :width], model(second), chunks | valid[:, None], 5.0
        ),
        lambda: CosineConsistencyLoss(gather)(model(first[:, 0]), model(second[:, 0]), valid),
        lambda: consistency(model(first[:, 0]), model(second[:, 0]), valid),
    ]
    found = []
    for compute in computed:
        model.zero_grad()
        loss = compute()
        loss.backward()
        weight = next(model.parameters())
        assert weight.grad is not None
        found.append((loss.detach(), weight.grad.clone()))
    return found


def layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(DIM, DIM, bias=False)


def worker(rank: int, port: int, folder: str) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(layer())
    half = PAIRS // 2
    found = losses(slice(rank * half, (rank + 1) * half), True, model)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_workers_are_one(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), str(port), str(tmp_path)]) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    alone = losses(slice(None), False, layer())
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        for (loss, gradient), (expected, expected_gradient) in zip(together, alone, strict=True):
            torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=0)


if __name__ == "__main__":  # one of the two workers
    worker(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
