"""Canny edge maps: shape and type, and thresholds that follow the contrast of the image."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from structxlip.cues import canny, has_structure
from structxlip.cues.detectors.canny import thresholds
from structxlip.cues.detectors.canny_local import canny_local


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


def naive_thresholds(grey):
    """Otsu's threshold of |dx| + |dy| by its definition, over bins of 4, and 0.4 times it."""
    padded = np.pad(grey.astype(int), 1, mode="edge")
    rows, columns = grey.shape
    around = {
        (y, x): padded[1 + y : 1 + y + rows, 1 + x : 1 + x + columns]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    }
    weights = {-1: 1, 0: 2, 1: 1}
    dx = sum(weights[y] * (around[y, 1] - around[y, -1]) for y in weights)
    dy = sum(weights[x] * (around[1, x] - around[-1, x]) for x in weights)
    levels = np.minimum(np.rint(np.abs(dx) / 4) + np.rint(np.abs(dy) / 4), 255)

    def variance_between(threshold):
        above = levels > threshold
        if above.all() or not above.any():
            return 0.0
        return above.mean() * (~above).mean() * (levels[above].mean() - levels[~above].mean()) ** 2

    otsu = max(range(256), key=variance_between)
    return 0.4 * max(4 * otsu, 16), max(4 * otsu, 16)


@pytest.mark.parametrize("contrast", [0.1, 0.5, 1.0])
def test_thresholds_are_those_of_the_definition(contrast):
    rough = np.random.default_rng(1).integers(0, 255, (12, 12), np.uint8)
    grey = cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC)
    grey = np.rint(grey * contrast).astype(np.uint8)
    low, high = naive_thresholds(grey)
    found = thresholds(*cv2.spatialGradient(grey, borderType=cv2.BORDER_REPLICATE))
    assert found[1] == pytest.approx(high, abs=4)
    assert found[0] == pytest.approx(0.4 * found[1])
    assert low < high


def shirt():
    """A pale garment with dark trousers on white."""
    image = np.full((200, 200, 3), 255, np.uint8)
    image[30:110, 60:140] = 243
    image[110:190, 60:140] = 30
    return image


def test_local_thresholds_keep_a_pale_outline():
    shoulder = np.s_[24:48, 36:41]  # the left side of the shirt in a map of 128 pixels
    assert not canny(shirt(), size_px=128)[shoulder].any()
    assert canny_local(shirt(), size_px=128)[shoulder].any(axis=1).all()


def test_local_thresholds_change_nothing_where_all_edges_are_strong():
    image = drawing(220, 30)
    np.testing.assert_array_equal(canny_local(image, size_px=128), canny(image, size_px=128))


def test_given_thresholds_are_not_local():
    found = canny_local(shirt(), size_px=128, low=20, high=40)
    np.testing.assert_array_equal(found, canny(shirt(), size_px=128, low=20, high=40))


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
