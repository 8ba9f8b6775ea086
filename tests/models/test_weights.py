"""Stretched positions and interpolated weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from structxlip.models.weights import interpolate_weights, stretch_positions


@given(length=st.integers(77, 600), keep=st.integers(0, 40))
@settings(deadline=None, max_examples=30)
def test_all_positions_are_interpolated_and_the_first_stay(length: int, keep: int) -> None:
    positions = torch.randn(77, 6, generator=torch.Generator().manual_seed(0))
    found = stretch_positions(positions, length, keep)
    assert found.shape == (length, 6)
    torch.testing.assert_close(found[:keep], positions[:keep], rtol=0, atol=0)
    torch.testing.assert_close(found[-1], positions[-1])
    assert found.norm(dim=1).min() > 0  # none is left at zero, as beyond 248 in the authors' code
    for place in range(keep, length):
        x = (place - keep) * (76 - keep) / max(length - keep - 1, 1) + keep
        low = min(int(x), 75)
        between = torch.lerp(positions[low], positions[low + 1], x - low)
        torch.testing.assert_close(found[place], between, atol=2e-4, rtol=0)


def test_what_cannot_be_stretched_is_refused() -> None:
    positions = torch.zeros(77, 4)
    with pytest.raises(ValueError, match="can be stretched, not cut to 60"):
        stretch_positions(positions, 60)
    with pytest.raises(ValueError, match=r"L of at least 22, got \(21, 4\)"):
        stretch_positions(positions[:21], 60)


def test_interpolated_weights_lie_between() -> None:
    base = {"a": torch.tensor([0.0, 2.0]), "steps": torch.tensor(3)}
    tuned = {"a": torch.tensor([1.0, 6.0]), "steps": torch.tensor(9)}
    found = interpolate_weights(base, tuned, 0.25)
    assert found["a"].tolist() == [0.25, 3.0]
    assert int(found["steps"]) == 9
    for share, expected in ((0.0, base), (1.0, tuned)):
        torch.testing.assert_close(interpolate_weights(base, tuned, share)["a"], expected["a"])


def test_models_that_differ_are_refused() -> None:
    base = {"a": torch.zeros(2), "b": torch.zeros(1), "c": torch.zeros(1)}
    tuned = {"a": torch.zeros(3), "b": torch.zeros(1), "d": torch.zeros(1)}
    with pytest.raises(ValueError, match="the models differ in a, c, d"):
        interpolate_weights(base, tuned, 0.5)
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        interpolate_weights(base, base, 1.5)
