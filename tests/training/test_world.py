"""Any number of workers gives the run of one: both recipes, all losses, whole or sharded."""

from __future__ import annotations

import json
from itertools import islice
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from structxlip.config import Params
from structxlip.training import validation
from structxlip.training.assembly import assemble
from structxlip.training.loop import Loop
from structxlip.training.parallel import World
from structxlip.training.validation import validation_recall
from tests.store import Artifacts
from tests.training.test_loop import change

STEPS, FEW_STEPS, WORLDS = 50, 10, (4, 2)
WHOLE = ("frozen", "paper")  # run all steps, with four workers too
LOSSES = {"loss", "clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"}


def new_loop(artifacts: Artifacts, params: Params, world: World) -> Loop:
    return assemble(artifacts.run(params), world).loop


def curve(artifacts: Artifacts, params: Params, world: World, steps: int) -> list[dict[str, float]]:
    """The metrics of each step, with the validation of each epoch."""
    loop = new_loop(artifacts, params, world)
    validated = params.recipe_settings.train.val_images
    run = loop.run(lambda model: validation_recall(model, artifacts.store, world, validated))
    seen = [done.metrics | (done.epoch or {}) for done in islice(run, steps)]
    if world.size == 2:  # what is written by two is what one goes on from
        state = world.broadcast(loop.saved_state())
        again = new_loop(artifacts, params, world)
        again.restore(state)
        for name, value in again.saved_state()["task"].items():
            assert torch.equal(value, state["task"][name]), name
    return seen


def worker(rank: int, folder: Path) -> None:
    """One of four processes: first all of them train together, then two."""
    torch.set_num_threads(1)
    validation.BLOCK = 1  # so that each worker has images and captions of its own to validate
    told = json.loads((folder / "told.json").read_text())
    for size in WORLDS:
        if rank >= size:
            continue
        address = f"file://{folder}/workers-{size}"
        dist.init_process_group("gloo", init_method=address, rank=rank, world_size=size)
        for name, (artifacts, content) in told.items():
            params, steps = Params.model_validate(content), STEPS if name in WHOLE else FEW_STEPS
            if steps == STEPS or size == 2:
                world = World(rank, size, sharded=params.machine.sharded)
                found = curve(Artifacts(*map(Path, artifacts)), params, world, steps)
                if rank == 0:
                    (folder / f"{name}-{size}.json").write_text(json.dumps(found))
        dist.destroy_process_group()


@pytest.mark.e2e
def test_losses_are_those_of_one_worker(
    forkserver: ForkServerContext,
    artifacts: Artifacts,
    params: Params,
    raw_artifacts: Artifacts,
    paper_params: Params,
    tmp_path: Path,
) -> None:
    frozen = change(change(params, epochs=STEPS // 2, val_images=3), "model", dropout=0.3)
    paper = change(paper_params, epochs=STEPS // 2, length_window=2)
    paper = change(paper, learning_rate=1e-4, augmentation="light")
    runs = {
        "frozen": (artifacts, frozen),
        "paper": (raw_artifacts, paper),
        "frozen_micro": (artifacts, change(frozen, "machine", micro_batch_size=4)),
        "frozen_sharded": (artifacts, change(frozen, "machine", sharded=True)),
        "paper_micro": (raw_artifacts, change(paper, "machine", micro_batch_size=4)),
        "paper_sharded": (raw_artifacts, change(paper, "machine", sharded=True)),
        "paper_both": (raw_artifacts, change(paper, "machine", sharded=True, micro_batch_size=4)),
    }
    told = {
        name: ([str(a.features), str(a.edges)], p.model_dump(by_alias=True))
        for name, (a, p) in runs.items()
    }
    (tmp_path / "told.json").write_text(json.dumps(told))
    processes = [
        forkserver.Process(target=worker, args=(rank, tmp_path), daemon=True)
        for rank in range(max(WORLDS))
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=300)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    alone = {name: curve(*runs[name], World(), STEPS) for name in WHOLE}
    for name in runs:
        one = alone[name.partition("_")[0]]
        assert set(one[0]) > LOSSES
        for size in WORLDS if name in WHOLE else (2,):
            many = json.loads((tmp_path / f"{name}-{size}.json").read_text())
            assert len(many) == (STEPS if name in WHOLE else FEW_STEPS)
            for step, (yours, mine) in enumerate(zip(many, one[: len(many)], strict=True)):
                for key in LOSSES | {key for key in mine if key.startswith("val/")}:
                    assert yours[key] == pytest.approx(mine[key], abs=1e-4), (name, size, step, key)
