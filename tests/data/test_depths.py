"""Grey pictures of any depth beside the definition of their scale."""

from __future__ import annotations

import numpy as np
import pytest

from structxlip.data.images import grey_levels
from structxlip.data.quarantine import BadImage


@pytest.mark.parametrize("brightest", [1, 200, 255, 256, 1023, 1024, 4095, 16383, 16384, 65535])
def test_integers_have_the_depth_that_holds_the_brightest(brightest: int) -> None:
    values = np.linspace(brightest // 3, brightest, 200).round().astype(np.uint16).reshape(10, 20)
    depth = next(bits for bits in (8, 10, 12, 14, 16) if brightest < 2**bits)
    if brightest == 1:
        with pytest.raises(BadImage, match="dark_image"):
            grey_levels(values)
        return
    wanted = 255 * (values / (2**depth - 1))
    np.testing.assert_allclose(grey_levels(values), wanted, atol=0.51)


@pytest.mark.parametrize(
    ("darkest", "brightest"), [(-500, 1500), (0.2, 0.9), (-3.0, -1.0), (0, 7e4)]
)
def test_other_values_are_stretched_from_the_darkest_or_zero(
    darkest: float, brightest: float
) -> None:
    values = np.linspace(darkest, brightest, 200).reshape(10, 20)
    values = values.round().astype(np.int32) if darkest == -500 else values
    low, high = min(0.0, values.min()), max(0.0, values.max())
    wanted = 255 * (values - low) / (high - low)
    np.testing.assert_allclose(grey_levels(values), wanted, atol=0.51)


def test_limits_that_are_given_and_values_that_are_no_number() -> None:
    values = np.array([[np.nan, -5.0, 0.0, 50.0], [100.0, 150.0, np.inf, -np.inf]])
    found = grey_levels(values, 0.0, 100.0)
    assert found.tolist() == [[0, 0, 0, 128], [255, 255, 0, 0]]
    assert found.dtype == np.uint8
    assert grey_levels(values, 20.0, 100.0)[0, 3] == round(255 * 30 / 80)
    np.testing.assert_array_equal(grey_levels(values, 20.0), grey_levels(values))
    with pytest.raises(BadImage, match="dark_image"):
        grey_levels(np.full((4, 4), 7.0), 7.0, 7.0)
