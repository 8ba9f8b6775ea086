"""Training through Ray Train: any number of workers, killed or not, gives the same run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from structxlip.config import EdgeBranch, Params
from structxlip.models.build import build_model
from structxlip.ray_session import ray_head
from structxlip.training.ray_train import worker_cpus
from structxlip.training.run import TrainingRun
from structxlip.training.validation import validation_recall
from tests.store import Artifacts, write_artifacts
from tests.training.test_loop import change, new_loop, train

CODE = """
import sys
from pathlib import Path
from structxlip.config import load_params
from structxlip.ray_session import ray_session
from structxlip.training.ray_train import train_arm
from structxlip.training.run import TrainingRun
import pandas as pd
import torch

params, features, edges, out = sys.argv[1:]
run = TrainingRun(load_params(params), "structxlip", Path(features), Path(edges))
steps = []

def listener(result):
    steps.append(result.step)
    print(f"step {result.step}", file=sys.stderr, flush=True)

with ray_session():
    model, history = train_arm(run, listener)
assert steps == sorted(set(steps)), steps
pd.DataFrame(history).to_parquet(out)
torch.save(model.state_dict(), out + ".pt")
"""

LEAKED = """
from ray.util.placement_group import placement_group, placement_group_table
from structxlip.ray_session import ray_session
from structxlip.training.ray_train import _LeakedPlacementGroups

with ray_session() as cpus:
    mine = placement_group([{"CPU": cpus / 2}])
    assert mine.wait(10)
    free_leaked = _LeakedPlacementGroups()
    first = placement_group([{"CPU": cpus / 2}])
    assert first.wait(10)
    free_leaked()
    second = placement_group([{"CPU": cpus / 2}])
    assert not second.wait(0.5), "the first one was freed while it was the only one"
    free_leaked()
    assert second.wait(10)
    free_leaked()
    states = [placement_group_table(group)["state"] for group in (mine, first, second)]
    assert states == ["CREATED", "REMOVED", "CREATED"]
"""


class Trainer:
    """Runs CODE in a process of its own, on one Ray head of two cores for all tests."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def start(self, artifacts: Artifacts, params: Params, out: str) -> subprocess.Popen[str]:
        file = self.folder / f"{out}.yaml"
        file.write_text(json.dumps(params.model_dump(by_alias=True)))
        arguments = [file, artifacts.features, artifacts.edges, out]
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | self.environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, artifacts: Artifacts, params: Params, out: str) -> tuple[pd.DataFrame, str]:
        """The history of a run, and what it said."""
        process = self.start(artifacts, params, out)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return pd.read_parquet(self.folder / out), said


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with ray_head() as environment:
        yield Trainer(tmp_path_factory.mktemp("runs"), environment)


def alone(artifacts: Artifacts, params: Params) -> pd.DataFrame:
    """The history of one worker, without Ray."""
    loop = new_loop(artifacts, params)
    train(loop, artifacts)
    return pd.DataFrame(loop.state.history)


def until(process: subprocess.Popen[str], pattern: str) -> None:
    """Read what a run says up to a line like this."""
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if re.search(pattern, line):
            return
    pytest.fail(f"it ended before it said {pattern!r}: {''.join(said)}")


@pytest.mark.e2e
def test_two_workers_that_are_killed_one_by_one_and_all_give_the_history_of_one(
    trainer: Trainer, artifacts: Artifacts, params: Params
) -> None:
    params = change(params, epochs=60)
    history = alone(artifacts, params)
    assert len(history) == 60
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]

    params = change(params, "machine", workers=2, checkpoint_steps=3, log_steps=5)
    process = trainer.start(artifacts, params, "two.parquet")
    until(process, r"^step \d\d")
    mine = {process.pid for process in psutil.Process().children(recursive=True)}
    named = psutil.process_iter(["name"])  # without those that end meanwhile
    workers = [p for p in named if p.pid in mine and "TrainWorker" in p.info["name"]]
    assert len(workers) == 2
    workers[0].kill()
    until(process, "going on after step")
    os.killpg(process.pid, signal.SIGKILL)  # the driver, and whatever it has started
    process.communicate()
    again, said = trainer.run(artifacts, params, "two.parquet")
    assert re.search("going on after step [1-9]", said)
    pd.testing.assert_frame_equal(again, history, rtol=1e-3, atol=1e-4)


@pytest.mark.e2e
def test_a_group_that_is_left_behind_makes_room_for_the_next(trainer: Trainer) -> None:
    subprocess.run([sys.executable, "-c", LEAKED], env=os.environ | trainer.environment, check=True)


@pytest.mark.e2e
def test_the_best_epoch_is_exported(
    trainer: Trainer, raw_artifacts: Artifacts, paper_params: Params
) -> None:
    params = change(paper_params, exported="best", patience=1, epochs=8)
    storage = (trainer.folder / "anywhere").as_uri()  # as an object store would be named
    params = change(params, "machine", storage=storage)
    history, _ = trainer.run(raw_artifacts, params, "best.parquet")
    loop = new_loop(raw_artifacts, params)
    weights = {}
    for done in loop.run(lambda model: validation_recall(model, raw_artifacts.store)):
        if done.is_best:
            weights = {k: v.clone() for k, v in loop.local_task.model.state_dict().items()}
    pd.testing.assert_frame_equal(pd.DataFrame(loop.state.history), history)
    assert loop.state.best is not None
    assert loop.state.best["epoch"] < len(history) < 8
    assert list((trainer.folder / "anywhere").glob("structxlip-*/best-*.pt"))
    exported = torch.load(trainer.folder / "best.parquet.pt", weights_only=True)
    torch.testing.assert_close(exported, weights, rtol=0, atol=0)


@pytest.mark.e2e
def test_a_run_that_fails_by_itself_is_not_tried_again(
    trainer: Trainer, params: Params, tmp_path: Path
) -> None:
    broken = write_artifacts(tmp_path, params.recipe_settings.model)
    structure = np.load(broken.features / "structure.npy", mmap_mode="r+")
    structure[:, 0] = np.nan
    structure.flush()
    process = trainer.start(broken, change(params, "machine", workers=2), "broken.parquet")
    _, said = process.communicate()
    assert process.returncode == 1
    assert re.search(
        r"^\S*TrainingFailed: epoch 1, step 1: \w+ must be finite, .* pair-", said, re.M
    )
    kept = [path.name for path in (trainer.folder / ".cache/train").glob("*/failed-*.pt")]
    assert 1 <= len(kept) <= 2  # each worker failed, once
    assert all(name.startswith("failed-00000000-") for name in kept)
    assert "going on" not in said


@given(nodes=st.lists(st.integers(1, 64), min_size=1, max_size=5), workers=st.integers(1, 12))
def test_every_worker_finds_room(nodes: list[int], workers: int) -> None:
    each = worker_cpus([float(cpus) for cpus in nodes], workers)
    assert sum(int(cpus / each + 1e-6) for cpus in nodes) >= workers
    assert each <= sum(nodes) / workers


def test_a_checkpoint_belongs_to_its_parameters_and_data(
    artifacts: Artifacts, params: Params
) -> None:
    run = artifacts.run(params)
    names = {
        run.name,
        artifacts.run(params, "vanilla").name,
        artifacts.run(change(params, epochs=5)).name,
        TrainingRun(params, "structxlip", artifacts.features, artifacts.features).name,
    }
    assert len(names) == 4
    assert run.name in names


BRANCHES: list[EdgeBranch | None] = [None, "cnn"]


def test_both_arms_start_from_the_same_heads(artifacts: Artifacts, params: Params) -> None:
    vanilla, structxlip = (
        build_model(
            params.recipe_settings.model, artifacts.store, seed=params.seed, edge_branch=branch
        ).state_dict()
        for branch in BRANCHES
    )
    assert set(vanilla) < set(structxlip)
    for name, value in vanilla.items():
        assert torch.equal(structxlip[name], value)
