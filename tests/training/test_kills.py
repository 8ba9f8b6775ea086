"""A training that is killed at any moment and goes on is, to the bit, the one that was not."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch

from structxlip.config import Params
from structxlip.training.checkpoints import BEST, STEP, SavedState
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker
from tests.store import Artifacts
from tests.training.test_loop import change

KILLS = {"frozen": 10, "paper": 4}
JOIN_S = 300


def work(run: TrainingRun) -> None:
    """A worker of its own process, which starts in no time: its parent has imported everything."""
    torch.set_num_threads(1)
    train_worker(run, run.checkpoints(), World(), lambda _: None)


def start(forkserver: ForkServerContext, run: TrainingRun) -> BaseProcess:
    process = forkserver.Process(target=work, args=(run,), daemon=True)
    process.start()
    return process


def new_run(artifacts: Artifacts, params: Params, folder: Path) -> TrainingRun:
    params = change(params, "machine", storage=str(folder), checkpoint_steps=1)
    return artifacts.run(params)


def end(run: TrainingRun) -> SavedState:
    state = run.checkpoints().newest()
    assert state is not None
    return state


@pytest.mark.e2e
@pytest.mark.parametrize("recipe", ["frozen", "paper"])
def test_kills_at_any_moment_change_nothing(
    recipe: str,
    forkserver: ForkServerContext,
    artifacts: Artifacts,
    params: Params,
    raw_artifacts: Artifacts,
    paper_params: Params,
    tmp_path: Path,
) -> None:
    params = change(change(params, epochs=40), "model", dropout=0.3)
    if recipe == "paper":
        artifacts, params = raw_artifacts, change(paper_params, epochs=16)
    whole = new_run(artifacts, params, tmp_path / "whole")
    process = start(forkserver, whole)
    began = wait_for(whole, process, 1)
    process.join(timeout=JOIN_S)
    assert process.exitcode == 0
    expected, took = end(whole), time.monotonic() - began

    broken = new_run(artifacts, params, tmp_path / "broken")
    rng = np.random.default_rng()
    stood = []
    for _ in range(KILLS[recipe]):
        process = start(forkserver, broken)
        # A few steps on, and within one of them; so that all come before the end.
        further = 1 + int(rng.integers(expected["step"] // (4 * KILLS[recipe])))
        wait_for(broken, process, (stood[-1] if stood else 0) + further)
        time.sleep(rng.random() * 2 * took / expected["step"])
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join(timeout=JOIN_S)
        stood.append(end(broken)["step"])
    assert stood == sorted(set(stood))  # a part of the run was done between each two kills
    assert stood[-1] < expected["step"]
    process = start(forkserver, broken)
    process.join(timeout=JOIN_S)
    assert process.exitcode == 0
    found = end(broken)
    assert found["state"] == expected["state"]
    torch.testing.assert_close(found["task"], expected["task"], rtol=0, atol=0)
    moments = found["optimizer"]["state"], expected["optimizer"]["state"]
    torch.testing.assert_close(*moments, rtol=0, atol=0)
    best = [run.checkpoints().at(BEST, found["state"]["best"]["step"]) for run in (whole, broken)]
    assert best[0] is not None
    torch.testing.assert_close(best[1], best[0], rtol=0, atol=0)


def wait_for(run: TrainingRun, process: BaseProcess, step: int) -> float:
    """Wait until a checkpoint of this step or a later one is there; returns when."""
    checkpoints = run.checkpoints()
    while process.is_alive():
        names = checkpoints.files(STEP)
        if names and int(Path(names[0]).stem.split("-")[1]) >= step:
            return time.monotonic()
        time.sleep(0.002)
    pytest.fail(f"the run ended before step {step}")
