"""A step that failed is found again, and what was wrong in it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.training.checkpoints import FAILED
from structxlip.training.loop import TrainingFailed
from structxlip.training.parallel import World
from structxlip.training.replay import replay, replay_step
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker
from tests.store import write_artifacts
from tests.training.test_loop import change


@pytest.fixture
def failed(tmp_path: Path, params: Params, monkeypatch: pytest.MonkeyPatch) -> TrainingRun:
    """A run over a store where the structure of a pair has a feature that is not a number."""
    monkeypatch.chdir(tmp_path)
    Path("data/scenes").mkdir(parents=True)
    artifacts = write_artifacts(Path("data/scenes"), params.recipe_settings.model)
    set_structure(artifacts.features, math.nan)
    run = artifacts.run(params)
    with pytest.raises(TrainingFailed):
        train_worker(run, run.checkpoints(), World(), lambda _: None)
    return run


def set_structure(features: Path, value: float) -> None:
    first, end = np.load(features / "caption_offsets.npy")[5:7]
    structure = np.load(features / "structure.npy", mmap_mode="r+")
    structure[first:end, 2] = value
    structure.flush()


def test_the_broken_pair_and_the_first_module_are_named(failed: TrainingRun) -> None:
    state = failed.checkpoints().newest(FAILED)
    assert state is not None
    done = replay_step(failed, state)
    assert done.inputs == {"structure": ["pair-5"]}
    assert "pair-5" in done.ids
    assert done.module == "text_head.mlp.0"
    assert done.error == "the gradient is not finite"  # the pair has no edges: no loss reads it


def test_the_command_says_so(failed: TrainingRun, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="it failed again: the gradient is not finite"):
        replay(failed.params, "scenes", "structxlip")
    said = capsys.readouterr().err
    assert "not finite in the batch: structure of pair-5" in said
    assert "the output of text_head.mlp.0" in said


def test_without_a_failure_there_is_nothing_to_replay(failed: TrainingRun) -> None:
    other = change(failed.params, learning_rate=1e-5)
    with pytest.raises(UserError, match="no training of structxlip on scenes has failed with"):
        replay(other, "scenes", "structxlip")


def test_a_step_that_does_well_is_said_to(
    failed: TrainingRun, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = failed.checkpoints()
    state = checkpoints.newest(FAILED)
    assert state is not None
    set_structure(failed.features, 0.5)  # mended; but by that it is another run
    mended = TrainingRun(failed.params, "structxlip", failed.features, failed.edges)
    assert mended.name != failed.name
    mended.checkpoints().save(FAILED, 1, state)
    replay(failed.params, "scenes", "structxlip")
    said = capsys.readouterr().err
    assert "clip_loss " in said
    assert "it did not fail again" in said
