"""Canny edge maps: shape and type, and thresholds that follow the contrast of the image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structxlip.cues import canny, has_structure


def drawing(foreground, background, height=200, width=300):
    """A disc and a box of one colour on another."""
    image = np.full((height, width, 3), background, np.uint8)
    cv2.circle(image, (90, 100), 50, (foreground,) * 3, -1)
    cv2.rectangle(image, (180, 60), (260, 150), (foreground,) * 3, -1)
    return image


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 80), st.sampled_from([0.0, 1.0, 2.5]))
def test_shape_and_type(height, width, size_px, blur_sigma):
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    edges = canny(rgb, size_px=size_px, blur_sigma=blur_sigma)
    assert edges.shape == (size_px, size_px)
    assert edges.dtype == np.bool_


def test_fixed_thresholds_are_those_of_opencv():
    rgb = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (0, 0), 1.0)
    expected = cv2.Canny(grey, 50, 100) > 0
    np.testing.assert_array_equal(canny(rgb, size_px=96, low=50, high=100), expected)


def test_edges_are_the_outlines():
    edges = canny(drawing(220, 30, 128, 128)[:, :], size_px=128, blur_sigma=0)
    box = canny(drawing(220, 30), size_px=128)
    assert edges.any()
    assert not box[:20].any()
    assert not box[55:70, 35:42].any(), "the inside of the disc is flat"
    assert box[50:80, 74:80].any(), "the left side of the box"


@pytest.mark.parametrize(
    ("foreground", "background"), [(30, 10), (250, 230), (130, 120), (0, 255), (255, 0)]
)
def test_dark_bright_and_faint_drawings_have_the_same_edges(foreground, background):
    plain = canny(drawing(200, 50), size_px=128)
    other = canny(drawing(foreground, background), size_px=128)
    assert (plain & other).sum() / (plain | other).sum() > 0.9


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_blank_image_has_no_structure(grey):
    edges = canny(np.full((50, 80, 3), grey, np.uint8), size_px=64)
    assert not edges.any()
    assert not has_structure(edges)


def test_compression_noise_is_no_structure():
    noise = np.random.default_rng(0).normal(128, 3, (300, 400, 3)).astype(np.uint8)
    assert not has_structure(canny(noise, size_px=128))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 10.0}, "low < high or neither"),
        ({"low": 20.0, "high": 10.0}, "low < high or neither"),
        ({"low": -1.0, "high": 10.0}, "low < high or neither"),
        ({"size_px": 0}, "size_px >= 1"),
        ({"blur_sigma": -1.0}, "blur_sigma >= 0"),
        ({"image": np.zeros((4, 4, 2), np.uint8)}, "an image must be uint8"),
        ({"image": np.zeros((4, 4, 3), np.float32)}, "an image must be uint8"),
        ({"image": np.zeros((0, 4, 3), np.uint8)}, "an image must be uint8"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        canny(**{"image": np.zeros((4, 4, 3), np.uint8), "size_px": 8, **arguments})
