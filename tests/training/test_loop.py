"""The loop: what it went on from is what it would have been, and what it is told to do it does."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch

from structxlip.config import ArmSettings, Params
from structxlip.losses import NotFinite
from structxlip.training.assembly import assemble
from structxlip.training.loop import (
    SETTLED_STEPS,
    Loop,
    StepResult,
    TrainingFailed,
    weight_factors,
)
from structxlip.training.validation import validation_recall
from tests.store import Artifacts


def new_loop(artifacts: Artifacts, params: Params) -> Loop:
    return assemble(artifacts.run(params)).loop


def train(loop: Loop, artifacts: Artifacts, steps: int | None = None) -> list[StepResult]:
    """All of a run, or so many steps of it."""
    done: list[StepResult] = []
    run = loop.run(lambda model: validation_recall(model, artifacts.store))
    while steps is None or len(done) < steps:
        step = next(run, None)
        if step is None:
            break
        done.append(step)
    return done


def change(params: Params, section: str = "train", **values: Any) -> Params:
    content = params.model_dump(by_alias=True)
    parts = {"machine": content["machine"]} | content["recipes"][params.recipe]
    parts[section] |= values
    return Params.model_validate(content)


def stored(loop: Loop) -> Any:
    """A state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(loop.saved_state(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(first: Loop, second: Loop) -> None:
    assert first.state == second.state
    mine, yours = first.saved_state(), second.saved_state()
    torch.testing.assert_close(mine["task"], yours["task"], rtol=0, atol=0)
    moments = mine["optimizer"]["state"], yours["optimizer"]["state"]
    torch.testing.assert_close(*moments, rtol=0, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 5, 8])
def test_going_on_after_any_step_gives_the_unbroken_run(
    artifacts: Artifacts, params: Params, steps: int
) -> None:
    params = change(change(params, "model", dropout=0.3), patience=3)
    whole = new_loop(artifacts, params)
    told = train(whole, artifacts)
    assert [done.step for done in told] == list(range(1, 9))  # 2 steps in each of 4 epochs
    broken = new_loop(artifacts, params)
    train(broken, artifacts, steps)
    torch.manual_seed(99)  # what came before must not matter
    again = new_loop(artifacts, params)
    again.restore(stored(broken))
    assert again.steps_done == steps
    train(again, artifacts)
    assert_same(again, whole)


@pytest.mark.parametrize("unread", [("region_chunk",), ("edge_text", "edge_image")])
def test_a_part_that_no_loss_reads_is_in_the_checkpoint_too(
    artifacts: Artifacts, params: Params, unread: tuple[str, ...]
) -> None:
    content = params.model_dump(by_alias=True)
    content["recipes"]["frozen"]["arms"]["structxlip"] |= dict.fromkeys(unread, 0.0)
    params = Params.model_validate(content)
    whole, broken, again = (new_loop(artifacts, params) for _ in range(3))
    train(whole, artifacts)
    train(broken, artifacts, 3)
    again.restore(stored(broken))
    train(again, artifacts)
    assert_same(again, whole)


def test_a_clip_goes_on_too(raw_artifacts: Artifacts, paper_params: Params) -> None:
    params = change(paper_params, length_window=2, augmentation="light", layer_decay=0.7)
    whole, broken = (new_loop(raw_artifacts, params) for _ in range(2))
    train(whole, raw_artifacts)
    train(broken, raw_artifacts, 3)
    again = new_loop(raw_artifacts, params)
    again.restore(stored(broken))
    train(again, raw_artifacts)
    assert_same(again, whole)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_clip_is_trained_from_pixels_and_tokens(
    raw_artifacts: Artifacts, paper_params: Params, precision: str
) -> None:
    loop = new_loop(raw_artifacts, change(paper_params, precision=precision))
    train(loop, raw_artifacts)
    first, *_, last = loop.state.history
    assert {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(last)
    assert last["clip_loss"] < first["clip_loss"]
    again = new_loop(raw_artifacts, paper_params)
    train(again, raw_artifacts)
    assert (again.state.history == loop.state.history) == (precision == "fp32")


def test_losses_fall_and_are_told_apart(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, params)
    done = train(loop, artifacts)
    first, *_, last = loop.state.history
    assert {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(last)
    assert last["loss"] < first["loss"]
    assert {"val/image_to_text/R@1", "val/text_to_image/R@1"} < set(last)
    of_epoch = [step.metrics["clip_loss"] for step in done[:2]]
    assert first["clip_loss"] == pytest.approx(sum(of_epoch) / 2)
    assert {"weight/edge_text", "gradient_norm", "samples_per_s", "memory_mib"} < set(
        done[0].metrics
    )
    assert [step.total_steps for step in done] == [8] * 8


def test_the_best_epoch_is_known_and_patience_ends(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, change(params, epochs=30, patience=2))
    recalls = iter([10.0, 30.0, 20.0, 30.0, 99.0])

    def validate(_: object) -> dict[str, float]:
        return dict.fromkeys(("val/image_to_text/R@1", "val/text_to_image/R@1"), next(recalls))

    epochs = [done for done in loop.run(validate) if done.epoch]
    assert [done.is_best for done in epochs] == [True, True, False, False]
    assert loop.state.stopped
    assert loop.state.best == {"epoch": 2, "recall": 30.0, "step": 4}


def test_what_is_not_finite_stops_before_it_spoils(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, params)
    torch.nn.init.constant_(loop.local_task.model.image_head.mlp[0].weight, math.nan)
    with pytest.raises(
        TrainingFailed,
        match=r"epoch 1, step 1: image_features must be finite.* pair-\d+, .* and 8 more; low",
    ) as failed:
        train(loop, artifacts)
    assert (failed.value.epoch, failed.value.step, len(failed.value.pairs)) == (0, 0, 12)


def test_a_gradient_that_is_not_finite_changes_no_weight(
    artifacts: Artifacts, params: Params
) -> None:
    loop = new_loop(artifacts, params)
    weight = loop.local_task.model.text_head.mlp[0].weight
    weight.register_hook(lambda gradient: gradient * math.inf)
    before = {name: value.clone() for name, value in loop.local_task.state_dict().items()}
    with pytest.raises(TrainingFailed, match="the gradient is not finite on the pairs"):
        train(loop, artifacts)
    torch.testing.assert_close(loop.local_task.state_dict(), before, rtol=0, atol=0)


def test_a_loss_that_grows_stops(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, params)
    loop.state.epoch = SETTLED_STEPS
    for _ in range(50):
        loop._check_divergence(0.1)
    guessing = math.log(12)
    for _ in range(50):
        loop._check_divergence(guessing)  # bad, but no more than at the start of a run

    def grow() -> None:
        for _ in range(200):
            loop._check_divergence(5 * guessing)

    before = (loop.state.smoothed, loop.state.lowest)
    with pytest.raises(NotFinite, match=r"has grown from 0\.10 to \d\.\d\d, twice that of guess"):
        grow()
    assert loop.state.lowest == before[1]


def test_every_weight_decays_to_its_own_floor() -> None:
    arm = ArmSettings.model_validate(
        {
            name: {"schedule": {"decay_start": 1, "decay_end": 8, "floor": floor}}
            for name, floor in (("edge_text", 0.7), ("region_chunk", 0.4), ("edge_image", 0.5))
        }
    )
    assert weight_factors(arm, 0.5) == {"edge_text": 1, "region_chunk": 1, "edge_image": 1}
    assert weight_factors(arm, 9) == pytest.approx(
        {"edge_text": 0.7, "region_chunk": 0.4, "edge_image": 0.5}
    )
