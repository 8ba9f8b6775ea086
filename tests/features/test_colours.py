"""Copies of pictures in other colours."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from structxlip.features.colours import colour_copies

HALVES = np.zeros((8, 8, 3), np.uint8) + np.array([200, 30, 30], np.uint8)
HALVES[:, 4:] = [30, 60, 200]


@given(seed=st.integers(0, 9), copies=st.integers(0, 4))
def test_a_copy_follows_from_its_picture_and_number_alone(seed: int, copies: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), np.uint8)
    found, more = colour_copies(picture, copies), colour_copies(picture.copy(), copies + 1)
    assert len(found) == copies
    for copy, same in zip(found, more, strict=False):
        assert (copy.shape, copy.dtype) == (picture.shape, np.uint8)
        np.testing.assert_array_equal(copy, same)


def test_colours_change_and_what_is_seen_stays() -> None:
    copies = colour_copies(HALVES, 8)
    hues = [cv2.cvtColor(copy, cv2.COLOR_RGB2HSV)[0, 0, 0] for copy in copies]
    assert len(set(hues)) > 4
    for copy in copies:
        for half in (copy[:, :4], copy[:, 4:]):
            assert (half == half[0, 0]).all()
        assert (copy[0, 0] != copy[0, -1]).any()
