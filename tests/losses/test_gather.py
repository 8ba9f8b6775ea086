"""Two workers give the loss and the gradients of one, for every loss."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest
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
from structxlip.losses.gather import gather_rows

PAIRS, DIM = 6, 4
FIRST_ROWS = (3, 2, 0)  # pairs of the first worker; the second has the others


def inputs() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(PAIRS, 3, DIM, generator=generator)
    second = torch.randn(PAIRS, 3, DIM, generator=generator)
    # Unequal numbers of valid samples and of chunks in the two halves; one has none in a row.
    valid = torch.tensor([True, False, False, True, True, True])
    chunks = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 0]]).bool()
    return first, second, valid, chunks


def losses(part: slice | Tensor, gather: bool, model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Each loss of a part of the batch, with the gradient of a shared linear layer."""
    first, second, valid, chunks = (value[part] for value in inputs())
    # As a collator would: the widest of this worker.
    width = int(chunks.sum(dim=1).max()) if len(chunks) else 1
    consistency = ProjectedL2ConsistencyLoss(DIM, gather=gather)
    group_ids = torch.tensor([0, 1, 2, 0, 4, 5])[part]
    computed = [
        lambda: ContrastiveLoss(gather)(
            model(first[:, 0]), model(second[:, 0]), 5.0, valid, group_ids
        ),
        lambda: RegionChunkAttentionLoss(gather=gather)(
            model(first[:, :width]), chunks[:, :width], model(second), None, group_ids
        ),
        lambda: SigmoidContrastiveLoss(gather=gather)(
            model(first[:, 0]), model(second[:, 0]), 5.0, valid, group_ids
        ),
        lambda: RegionChunkLoss(gather=gather)(
            model(first[:, :width]),
            chunks[:, :width],
            model(second),
            chunks | valid[:, None],
            5.0,
            group_ids,
        ),
        lambda: CosineConsistencyLoss(gather)(model(first[:, 0]), model(second[:, 0]), valid),
        lambda: consistency(model(first[:, 0]), model(second[:, 0]), valid),
        # Without ids every pair of all workers is its own group.
        lambda: ContrastiveLoss(gather)(model(first[:, 0]), model(second[:, 0]), 5.0),
        # Both gathered tensors get the very same gradient.
        lambda: (gather_rows(model(first[:, 0])) + gather_rows(model(second[:, 0]))).norm(),
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
    found = [
        losses(slice(rows) if rank == 0 else slice(rows, PAIRS), True, model) for rows in FIRST_ROWS
    ]
    torch.save(found, Path(folder) / f"{rank}.pt")
    first = FIRST_ROWS[0]
    half = slice(first) if rank == 0 else slice(first, PAIRS)
    torch.save(losses(half, False, layer()), Path(folder) / f"{rank}-alone.pt")
    try:  # features of another size on each worker
        gather_rows(torch.zeros(2, DIM + rank))
    except ValueError as error:
        (Path(folder) / f"{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the losses and gradients that two processes computed together."""
    written = tmp_path_factory.mktemp("workers")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__]
    processes = [
        subprocess.Popen([*command, str(rank), str(port), str(written)]) for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    return written


@pytest.mark.parametrize("rank", [0, 1])
def test_two_workers_are_one(folder: Path, rank: int) -> None:
    """However the pairs are shared between them."""
    alone = losses(slice(None), False, layer())
    for together in torch.load(folder / f"{rank}.pt", weights_only=True):
        for (loss, gradient), (expected, expected_gradient) in zip(together, alone, strict=True):
            torch.testing.assert_close(loss, expected, atol=1e-5, rtol=0)
            torch.testing.assert_close(gradient, expected_gradient, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rank", [0, 1])
def test_features_of_other_sizes_are_an_error_on_every_worker(folder: Path, rank: int) -> None:
    said = (folder / f"{rank}.txt").read_text()
    assert said == "features must have one size on all workers, got [[4], [5]]"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_loss_that_is_not_asked_to_gather_is_that_of_its_own_rows(
    folder: Path, rank: int
) -> None:
    found = torch.load(folder / f"{rank}-alone.pt", weights_only=True)
    half = slice(FIRST_ROWS[0]) if rank == 0 else slice(FIRST_ROWS[0], PAIRS)
    alone = losses(half, False, layer())[:-1]  # the last one gathers by itself
    torch.testing.assert_close(found[:-1], alone, rtol=0, atol=0)


if __name__ == "__main__":  # one of the two workers
    worker(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
