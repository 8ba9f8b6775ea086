"""The loop: what it went on from is what it would have been, and what it is told to do it does."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from structxlip.config import Params, StructuralLosses
from structxlip.errors import UserError
from structxlip.models.build import build_model
from structxlip.training.batches import TrainingBatches
from structxlip.training.loop import (
    Loop,
    Task,
    composite_loss,
    rate_factor,
    validation_recall,
    weight_factors,
)
from tests.clips import IMAGE_PX
from tests.store import Artifacts


def new_loop(artifacts: Artifacts, params: Params, *, bf16: bool = False) -> Loop:
    arm = params.active.arms.structxlip
    torch.manual_seed(1)
    model = build_model(params.active.model, artifacts.store, seed=params.seed, losses=arm.losses)
    task = Task(model, composite_loss(arm, model.embed_dim, gather=False), bf16=bf16)
    batches = TrainingBatches(
        artifacts.store,
        artifacts.maps,
        batch_size=12,
        chunks_per_caption=2,
        edge_shift_px=2,
        regions_per_image=2,
        crop_px=IMAGE_PX,
        seed=params.seed,
    )
    return Loop(task, batches, params.active.train, arm, seed=params.seed)


def with_dropout(params: Params) -> Params:
    content = params.model_dump(by_alias=True)
    content["recipes"][params.recipe]["model"]["dropout"] = 0.3
    return Params.model_validate(content)


def test_going_on_gives_the_unbroken_run(
    artifacts: Artifacts, params: Params, tmp_path: Path
) -> None:
    params = with_dropout(params)
    whole = new_loop(artifacts, params)
    whole.run(lambda _: None)

    class Killed(Exception):
        pass

    def stop_after_two(loop: Loop) -> None:
        loop.save(tmp_path)
        if loop.progress.epochs_done == 2:
            raise Killed

    with pytest.raises(Killed):
        new_loop(artifacts, params).run(stop_after_two)
    torch.manual_seed(99)  # what came before must not matter
    again = new_loop(artifacts, params)
    again.restore(tmp_path)
    assert again.progress.epochs_done == 2
    again.run(lambda _: None)
    assert again.progress.history == whole.progress.history
    for name, value in whole.inner.state_dict().items():
        assert torch.equal(again.inner.state_dict()[name], value)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_clip_is_trained_from_pixels_and_tokens(
    raw_artifacts: Artifacts, paper_params: Params, bf16: bool
) -> None:
    loop = new_loop(raw_artifacts, paper_params, bf16=bf16)
    loop.run(lambda _: None)
    first, *_, last = loop.progress.history
    assert {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(last)
    assert last["clip_loss"] < first["clip_loss"]
    again = new_loop(raw_artifacts, paper_params)
    again.run(lambda _: None)
    same = again.progress.history == loop.progress.history
    assert same != bf16


def test_a_clip_has_a_learning_rate_of_its_own(
    raw_artifacts: Artifacts, paper_params: Params
) -> None:
    content = paper_params.model_dump(by_alias=True)
    recipe = content["recipes"]["paper"]
    recipe["train"] |= {"clip_learning_rate": 1e-5, "warmup_epochs": 0}
    recipe["arms"]["structxlip"]["losses"] = "seed"  # with an edge CNN that starts from nothing
    loop = new_loop(raw_artifacts, Params.model_validate(content))
    before = {name: value.clone() for name, value in loop.inner.named_parameters()}
    loop._epoch(0)
    moved = {
        name: float((value - before[name]).detach().abs().max())
        for name, value in loop.inner.named_parameters()
    }
    assert 1e-6 < moved["model.clip.text_projection"] < 1e-4
    assert moved["model.edge_encoder.projection.weight"] > 5e-4
    assert moved["loss.edge_image.projection.weight"] > 5e-4


def test_losses_fall_and_are_told_apart(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, params)
    loop.run(lambda _: None)
    first, *_, last = loop.progress.history
    assert {"clip_loss", "edge_text_loss", "region_chunk_loss", "edge_image_loss"} < set(last)
    assert last["loss"] < first["loss"]
    recall = validation_recall(loop.inner.model, artifacts.store)
    assert set(recall) == {"val/image_to_text/R@1", "val/text_to_image/R@1"}


def test_a_run_that_diverges_is_one_sentence(artifacts: Artifacts, params: Params) -> None:
    loop = new_loop(artifacts, params)
    torch.nn.init.constant_(loop.inner.model.image_head.mlp[0].weight, math.nan)
    with pytest.raises(UserError, match=r"epoch 1, step 1: image_features must be finite"):
        loop.run(lambda _: None)


def test_the_rate_warms_up_and_falls_to_nothing() -> None:
    rates = [rate_factor(epoch / 10, 2, 10) for epoch in range(101)]
    assert rates[0] < 0.01
    assert rates[20] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_every_weight_decays_to_its_own_floor() -> None:
    arm = StructuralLosses.model_validate(
        {
            "schedule": {
                "decay_start": 1,
                "decay_end": 8,
                "floors": {"edge_text": 0.7, "region_chunk": 0.4, "edge_image": 0.5},
            }
        }
    )
    assert weight_factors(arm, 0.5) == {"edge_text": 1, "region_chunk": 1, "edge_image": 1}
    assert weight_factors(arm, 9) == pytest.approx(
        {"edge_text": 0.7, "region_chunk": 0.4, "edge_image": 0.5}
    )
