"""`structxlip replay`: the step over which a training failed, once more."""

from __future__ import annotations

from structxlip.config import Arm, Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA
from structxlip.training.checkpoints import FAILED
from structxlip.training.replay import replay_step
from structxlip.training.run import TrainingRun


def replay(params: Params, dataset: str, arm: Arm) -> None:
    """Say what happens in the step; ``UserError`` when it fails again, or when none has failed."""
    data = DATA / dataset
    run = TrainingRun(params, arm, data / "features", data / "edges")
    checkpoints = run.checkpoints()
    state = checkpoints.newest(FAILED)
    if state is None:
        raise UserError(
            f"no training of {arm} on {dataset} has failed with these parameters and data; what a "
            f"failed one leaves would be in {checkpoints.folder}"
        )
    done = replay_step(run, state)
    say(f"epoch {done.epoch}, step {done.step}: the pairs {', '.join(done.ids)}")
    for name, ids in done.inputs.items():
        say(f"not finite in the batch: {name} of {', '.join(ids)}")
    if done.module:
        say(f"not finite first in the model: the output of {done.module}")
    for name, value in (done.values | done.gradients).items():
        say(f"{name} {value:.6g}")
    if done.error:
        raise UserError(f"it failed again: {done.error}")
    say("it did not fail again; `structxlip train` goes on from the newest checkpoint")
