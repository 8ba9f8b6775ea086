"""What `auto` takes for a number of training pairs, and what is said before a training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.config import FittedTrain, Train, load_params
from tests.operation import ROOT

AUTO = ("batch_size", "epochs", "warmup_epochs", "chunks_per_caption")


@pytest.mark.parametrize(
    ("pairs", "numbers"),
    [
        (3000, (256, 14, 2, 2)),
        (1_000_000, (256, 14, 2, 2)),
        (1600, (128, 14, 2, 4)),
        (401, (32, 14, 2, 8)),
        (100, (16, 25, 4, 8)),
        (10, (10, 150, 21, 8)),
    ],
)
def test_numbers_follow_from_the_pairs(pairs: int, numbers: tuple[int, ...]) -> None:
    fitted = Train().fitted(pairs)
    assert tuple(getattr(fitted, name) for name in AUTO) == numbers


@given(
    pairs=st.integers(0, 2_000_000),
    batch_size=st.none() | st.integers(2, 4096),
    epochs=st.none() | st.integers(1, 99),
    warmup_epochs=st.none() | st.integers(0, 120),
)
def test_every_fit_is_a_training(
    pairs: int, batch_size: int | None, epochs: int | None, warmup_epochs: int | None
) -> None:
    given_numbers = {"batch_size": batch_size, "epochs": epochs, "warmup_epochs": warmup_epochs}
    stated = {name: value for name, value in given_numbers.items() if value is not None}
    if {"epochs", "warmup_epochs"} <= stated.keys() and stated["warmup_epochs"] >= stated["epochs"]:
        with pytest.raises(ValueError, match="warmup_epochs must be below epochs"):
            Train(**stated)  # type: ignore[arg-type]
        return
    train = Train(**stated)  # type: ignore[arg-type]
    fitted = train.fitted(pairs)
    assert isinstance(fitted, FittedTrain)
    assert fitted.warmup_epochs < fitted.epochs
    for name, value in stated.items():
        assert getattr(fitted, name) == value
    if epochs is None and pairs >= fitted.batch_size:
        assert pairs // fitted.batch_size * fitted.epochs >= 150
        assert not any("only" in sentence for sentence in train.remarks(pairs))
    assert fitted.fitted(pairs) == fitted


def test_what_will_teach_little_is_said() -> None:
    assert Train().remarks(401) == [
        "for 401 pairs auto takes epochs 14, batch_size 32, warmup_epochs 2, chunks_per_caption 8"
    ]
    few = Train(batch_size=256, epochs=14, warmup_epochs=2, chunks_per_caption=2)
    assert few.remarks(3000) == []
    assert few.remarks(401) == [
        "there are only 14 steps in 14 epochs; lower train.batch_size, raise train.epochs, or set "
        "both to auto"
    ]
    larger, _ = few.remarks(200)
    assert larger.startswith("batch_size 256 is larger than the training split, so a batch has 200")


def test_the_recipes_of_frozen_towers_fit_themselves() -> None:
    recipes = load_params(ROOT / "params.yaml").recipes
    for name in ("frozen", "outlines"):
        assert {getattr(recipes[name].train, key) for key in AUTO} == {"auto"}
