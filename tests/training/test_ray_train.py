"""Training through Ray Train: any number of workers, killed or not, gives the same run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch

from structxlip.config import Params
from structxlip.models.build import build_model
from structxlip.ray_session import ray_head
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.loop import validation_recall
from structxlip.training.ray_train import TrainingRun
from tests.store import Artifacts

CODE = """
import sys
from pathlib import Path
from structxlip.config import load_params
from structxlip.ray_session import ray_session
from structxlip.training.loop import validation_recall
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.ray_train import TrainingRun, train_arm

params, features, edges, storage, out = sys.argv[1:]
run = TrainingRun(load_params(params), "structxlip", Path(features), Path(edges), Path(storage))
with ray_session() as cpus:
    model, history = train_arm(run, cpus)
import pandas as pd
pd.DataFrame(history).to_parquet(out)
"""


class Trainer:
    """Runs CODE in a process of its own, on one Ray head of two cores for all tests."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment

    def start(
        self, artifacts: Artifacts, params: Params, storage: str, out: str
    ) -> subprocess.Popen[str]:
        file = self.folder / f"{out}.yaml"
        file.write_text(json.dumps(params.model_dump(by_alias=True)))
        arguments = [file, artifacts.features, artifacts.edges, storage, out]
        return subprocess.Popen(
            [sys.executable, "-c", CODE, *map(str, arguments)],
            cwd=self.folder,
            env=os.environ | self.environment,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, artifacts: Artifacts, params: Params, storage: str, out: str
    ) -> tuple[pd.DataFrame, str]:
        """The history of a run, and what it said."""
        process = self.start(artifacts, params, storage, out)
        _, said = process.communicate()
        assert process.returncode == 0, said
        return pd.read_parquet(self.folder / out), said


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trainer]:
    with ray_head() as environment:
        yield Trainer(tmp_path_factory.mktemp("runs"), environment)


def alone(artifacts: Artifacts, params: Params) -> pd.DataFrame:
    """The history of one worker, without Ray."""
    losses, store = params.active.arms.structxlip, artifacts.store
    model = arm_model(params, losses, store)
    loop = arm_loop(params, losses, model, arm_batches(params, losses, store, artifacts.maps))
    loop.run(lambda loop: loop.progress.history[-1].update(validation_recall(model, store)))
    return pd.DataFrame(loop.progress.history)


def change(params: Params, workers: int = 1, **train: int) -> Params:
    content = params.model_dump(by_alias=True)
    content["recipes"][params.recipe]["train"] |= train
    content["machine"]["workers"] = workers
    return Params.model_validate(content)


@pytest.mark.e2e
def test_two_workers_that_were_killed_and_went_on_give_the_history_of_one(
    trainer: Trainer, artifacts: Artifacts, params: Params
) -> None:
    history = alone(artifacts, change(params, epochs=12))
    assert len(history) == 12
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]

    params = change(params, epochs=12, workers=2)
    process = trainer.start(artifacts, params, "two", "two.parquet")
    assert process.stderr is not None
    for line in process.stderr:
        if "train structxlip: 3/12" in line:
            process.kill()
            break
    else:
        pytest.fail("the run ended before it could be killed")
    process.communicate()
    again, said = trainer.run(artifacts, params, "two", "two.parquet")
    assert re.search("going on after epoch [1-9]", said)
    pd.testing.assert_frame_equal(again, history, rtol=1e-3, atol=1e-4)


@pytest.mark.e2e
def test_two_workers_train_a_clip_as_one_does(
    trainer: Trainer, raw_artifacts: Artifacts, paper_params: Params
) -> None:
    one = alone(raw_artifacts, paper_params)
    two, _ = trainer.run(raw_artifacts, change(paper_params, workers=2), "clip", "clip.parquet")
    assert {"edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(one)
    assert one["clip_loss"].iloc[-1] < one["clip_loss"].iloc[0]
    pd.testing.assert_frame_equal(two, one, rtol=1e-3, atol=1e-4)


def test_a_checkpoint_belongs_to_its_parameters_and_data(
    artifacts: Artifacts, params: Params
) -> None:
    run = TrainingRun(params, "structxlip", artifacts.features, artifacts.edges)
    names = {
        run.name(),
        TrainingRun(params, "vanilla", artifacts.features, artifacts.edges).name(),
        TrainingRun(
            change(params, epochs=5), "structxlip", artifacts.features, artifacts.edges
        ).name(),
        TrainingRun(params, "structxlip", artifacts.features, artifacts.features).name(),
    }
    assert len(names) == 4
    assert run.name() in names


def test_both_arms_start_from_the_same_heads(artifacts: Artifacts, params: Params) -> None:
    vanilla, structxlip = (
        build_model(
            params.active.model, artifacts.store, seed=params.seed, losses=losses
        ).state_dict()
        for losses in (None, "seed")
    )
    assert set(vanilla) < set(structxlip)
    for name, value in vanilla.items():
        assert torch.equal(structxlip[name], value)
