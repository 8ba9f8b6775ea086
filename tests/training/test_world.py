"""Any number of workers gives the run of one: both recipes, all losses, whole or sharded."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from structxlip.config import Params
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.loop import Loop, validation_recall
from structxlip.training.parallel import World
from tests.store import Artifacts
from tests.training.test_loop import change

STEPS, SHARDED_STEPS, WORLDS = 50, 10, (4, 2)
LOSSES = {"loss", "clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"}


def new_loop(artifacts: Artifacts, params: Params, world: World) -> Loop:
    losses, store = params.active.arms.structxlip, artifacts.store
    batches = arm_batches(params, losses, store, artifacts.maps, world=world)
    return arm_loop(params, losses, arm_model(params, losses, store), batches, world=world)


def curve(artifacts: Artifacts, params: Params, world: World) -> list[dict[str, float]]:
    """What is seen in each step, and the validation of each epoch."""
    loop = new_loop(artifacts, params, world)
    run = loop.run(lambda model: validation_recall(model, artifacts.store))
    steps = SHARDED_STEPS if world.sharded else STEPS
    seen = [done.seen | (done.epoch or {}) for done in islice(run, steps)]
    if world.size == 2:  # what is written by two is what one goes on from
        state = world.agree(loop.state())
        again = new_loop(artifacts, params, world)
        again.restore(state)
        for name, value in again.state()["task"].items():
            assert torch.equal(value, state["task"][name]), name
    return seen


def worker(rank: int, port: int, folder: Path) -> None:
    """One of four processes: first all of them train together, then two."""
    torch.set_num_threads(1)
    told = json.loads((folder / "told.json").read_text())
    for index, size in enumerate(WORLDS):
        if rank >= size:
            continue
        address = f"tcp://127.0.0.1:{port + index}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
        for name, (artifacts, content) in told.items():
            params = Params.model_validate(content)
            sharded = params.machine.sharded
            if sharded and size != 2:
                continue
            found = curve(
                Artifacts(*map(Path, artifacts)), params, World(rank, size, sharded=sharded)
            )
            if rank == 0:
                (folder / f"{name}-{size}.json").write_text(json.dumps(found))
        dist.destroy_process_group()


@pytest.mark.e2e
def test_losses_are_those_of_one_worker(
    artifacts: Artifacts,
    params: Params,
    raw_artifacts: Artifacts,
    paper_params: Params,
    tmp_path: Path,
) -> None:
    seed = change(change(params, epochs=STEPS // 2), "model", dropout=0.3)
    paper = change(paper_params, epochs=STEPS // 2, length_window=2)
    paper = change(paper, learning_rate=1e-4, augmentation="light")
    runs = {
        "seed": (artifacts, seed),
        "paper": (raw_artifacts, paper),
        "sharded_seed": (artifacts, change(seed, "machine", sharded=True)),
        "sharded": (raw_artifacts, change(paper, "machine", sharded=True)),
        "micro": (raw_artifacts, change(paper, "machine", sharded=True, micro_batch_size=4)),
    }
    told = {
        name: ([str(a.features), str(a.edges)], p.model_dump(by_alias=True))
        for name, (a, p) in runs.items()
    }
    (tmp_path / "told.json").write_text(json.dumps(told))
    port = free_ports()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.test_world", str(rank), str(port), tmp_path],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for rank in range(max(WORLDS))
    ]
    assert [process.wait(timeout=300) for process in processes] == [0] * len(processes)
    alone = {name: curve(*runs[name], World()) for name in ("seed", "paper")}
    for name in runs:
        one = alone["seed" if "seed" in name else "paper"]
        assert len(one) == STEPS
        assert set(one[0]) > LOSSES
        for size in WORLDS if name in alone else (2,):
            many = json.loads((tmp_path / f"{name}-{size}.json").read_text())
            assert len(many) == (STEPS if name in alone else SHARDED_STEPS)
            for step, (mine, yours) in enumerate(zip(one, many, strict=False)):
                for key in LOSSES | {key for key in mine if key.startswith("val/")}:
                    assert yours[key] == pytest.approx(mine[key], abs=1e-4), (name, size, step, key)


def free_ports() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    worker(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
