"""Observations on curves are true: overfitting, rising, level, and nothing learned."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.config import Params
from structxlip.reports.training_curves import (
    best_epoch,
    least_patience,
    observations,
    recall_curve,
)

PAIRS = {"train": 100, "val": 400}


def curve(recall: list[float], clip_loss: list[float] | None = None) -> pd.DataFrame:
    """A history whose two recalls lie 2 points around their mean; the loss falls, if not given."""
    epochs = range(1, len(recall) + 1)
    return pd.DataFrame(
        {
            "epoch": epochs,
            "clip_loss": clip_loss or [1 / epoch for epoch in epochs],
            "val/image_to_text/R@1": [value + 1 for value in recall],
            "val/text_to_image/R@1": [value - 1 for value in recall],
        }
    )


def told(params: Params, history: pd.DataFrame, **train: Any) -> str:
    """The one sentence about a curve."""
    content = params.model_dump(by_alias=True)
    content["recipes"][params.recipe]["train"] |= {"epochs": len(history)} | train
    found = observations(Params.model_validate(content), PAIRS, {"vanilla": history})
    assert len(found) == 1
    return found[0]


def test_a_curve_that_falls_while_the_loss_falls_is_overfitting(params: Params) -> None:
    falling = curve([20, 30, 25, 40, 38, 37, 36, 35, 34])
    assert told(params, falling) == (
        "vanilla: best on validation at epoch 4 of 9, mean R@1 40.0 %; the last is 6.0 points "
        "lower, more than the standard error of 2.4 points (400 images), and clip_loss went from "
        "0.25 to 0.111: it overfits. On this curve train.exported: best takes epoch 4, and "
        "train.patience: 2 ends after epoch 6."
    )
    assert told(params, falling, exported="best").endswith("it overfits. Epoch 4 is exported.")
    short = told(params, falling[:5].assign(**{"val/text_to_image/R@1": [19, 29, 24, 39, 20]}))
    assert short.endswith("train.exported: best takes epoch 4.")


def test_a_curve_that_falls_while_the_loss_rises_is_no_overfitting(params: Params) -> None:
    sentence = told(params, curve([20, 40, 10, 5], [1.0, 0.5, 2.0, 3.0]))
    assert sentence.endswith("went from 0.5 to 3: training went astray. Lower the learning rate.")


def test_a_curve_that_rises_in_its_second_half_wants_more_epochs(params: Params) -> None:
    rising = curve([5, 10, 20, 30, 38, 44])
    sentence = told(params, rising)
    assert "24.0 points came in the last 3 epochs" in sentence
    assert sentence.endswith("still rising. Train longer, with a higher train.epochs.")
    stopped = told(params, rising, epochs=20, patience=1)
    assert stopped.endswith("with a higher train.patience.")


def test_a_curve_is_level_from_where_validation_tells_no_difference(params: Params) -> None:
    sentence = told(params, curve([10, 48, 45, 49, 50, 50, 49]))
    assert sentence == (
        "vanilla: best on validation at epoch 5 of 7, mean R@1 50.0 %; level from epoch 4 on, "
        "within the standard error of 2.5 points (400 images)."
    )
    assert "level from epoch 2 on" in told(params, curve([10, 48, 48, 48, 49, 49]))
    assert "level from epoch 1 on" in told(params, curve([50]), warmup_epochs=0)


@pytest.mark.parametrize(("images", "overfits"), [(100, False), (10_000, True)])
def test_more_images_tell_smaller_differences(params: Params, images: int, overfits: bool) -> None:
    history = curve([20, 40, 39, 38.5])
    found = observations(params, {"train": 100, "val": images}, {"vanilla": history})
    assert ("it overfits" in found[0]) is overfits


@pytest.mark.parametrize(("last", "told_apart"), [(math.log(12), False), (1.0, True)])
def test_edge_maps_that_are_guessed_are_told(params: Params, last: float, told_apart: bool) -> None:
    history = curve([40, 40]).assign(edge_text_loss=[3.0, last])
    found = observations(params, PAIRS, {"vanilla": curve([40, 40]), "structxlip": history})
    assert [sentence.partition(":")[0] for sentence in found[:2]] == ["vanilla", "structxlip"]
    guessed = (
        "structxlip: edge_text_loss ends at 2.48, and a guess among the 12 of a batch gives 2.48"
    )
    assert any(sentence.startswith(guessed) for sentence in found[2:]) is not told_apart
    # Of fewer pairs than a batch holds, all are in it.
    few = observations(params, {"train": 2, "val": 400}, {"structxlip": history})
    assert "among the 2 of a batch gives 0.69" in few[1]


def test_the_first_of_equals_is_the_best() -> None:
    history = curve([10, 30, 30, 20])
    assert recall_curve(history) == [10, 30, 30, 20]
    assert best_epoch(history) == 2


@given(st.lists(st.integers(0, 8), min_size=1, max_size=12))
def test_the_least_patience_is_the_first_that_stops_after_the_best_epoch(recall: list[int]) -> None:
    def stops_after(patience: int) -> int:
        best = 0
        for epoch in range(1, len(recall)):
            if recall[epoch] > recall[best]:
                best = epoch
            if epoch - best >= patience:
                return epoch + 1
        return len(recall)

    best = recall.index(max(recall)) + 1
    enough = [p for p in range(1, len(recall) + 1) if max(recall[: stops_after(p)]) == max(recall)]
    assert least_patience([float(value) for value in recall], best) == enough[0]
