"""Changes of appearance are what they say, keep the shape, and follow from their seed."""

from __future__ import annotations

import colorsys
import io

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from structxlip.evaluation import appearance
from structxlip.evaluation.appearance import CHANGES


def picture(height: int = 40, width: int = 52, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 256, (height // 4, width // 4, 3)), np.ones((4, 4, 1))).astype(
        np.uint8
    )


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("name", CHANGES)
@given(seed=st.integers(0, 99))
def test_every_change_gives_a_picture_that_follows_from_the_seed(name: str, seed: int) -> None:
    rgb = picture(seed=seed)
    before = rgb.copy()
    one, two = CHANGES[name](rgb, rng()), CHANGES[name](rgb, rng())
    np.testing.assert_array_equal(rgb, before)
    np.testing.assert_array_equal(one, two)
    assert one.dtype == np.uint8
    assert one.shape == ((36, 47, 3) if name == "cropped" else rgb.shape)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "unchanged"])
def test_every_change_changes_something(name: str) -> None:
    rgb = picture()
    found = CHANGES[name](rgb, rng())
    assert found.shape != rgb.shape or (found != rgb).mean() > 0.05


def test_no_change_is_none() -> None:
    rgb = picture()
    np.testing.assert_array_equal(CHANGES["unchanged"](rgb, rng()), rgb)


def test_a_crop_is_a_part_at_any_place() -> None:
    rows, columns = np.mgrid[:10, :20]
    rgb = np.stack([rows, columns, rows], axis=2).astype(np.uint8)
    corners = set()
    for seed in range(200):
        found = appearance.cropped(rgb, np.random.default_rng(seed), share=0.2)
        top, left = found[0, 0, :2].tolist()
        np.testing.assert_array_equal(found, rgb[top : top + 8, left : left + 16])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(5)}
    tiny = appearance.cropped(rgb[:1, :1], np.random.default_rng(0), share=0.9)
    assert tiny.shape == (1, 1, 3)


@given(
    levels=st.lists(st.integers(0, 255), min_size=4, max_size=4),
    factor=st.sampled_from([0.35, 1.0, 3.0]),
)
def test_contrast_is_its_definition(levels: list[int], factor: float) -> None:
    rgb = np.array(levels, np.uint8).reshape(2, 2, 1).repeat(3, axis=2)
    mean = rgb.mean(axis=(0, 1, 2))
    found = appearance.contrast(rgb, rng(), factor=factor)
    wanted = np.array([min(255, max(0, round(mean + factor * (v - mean), 6))) for v in levels])
    assert np.abs(found[..., 0].ravel() - wanted).max() <= 0.5001
    assert found.dtype == np.uint8


@pytest.mark.parametrize("level", [0, 3, 128, 255])
def test_noise_is_its_definition(level: int) -> None:
    rgb = np.full((60, 50, 3), level, np.uint8)
    wanted = np.round(rgb + rng().normal(0, 20, rgb.shape)).clip(0, 255)
    np.testing.assert_array_equal(appearance.noise(rgb, rng(), sigma=20), wanted)


@pytest.mark.parametrize(("height", "width"), [(224, 300), (112, 112), (60, 448)])
@pytest.mark.parametrize("sigma", [1.0, 3.0])
def test_a_blur_is_relative_to_the_shorter_side(height: int, width: int, sigma: float) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    scale = sigma * min(height, width) / appearance.REFERENCE_PX
    wanted = ndimage.gaussian_filter(rgb.astype(float), (scale, scale, 0), mode="mirror")
    found = appearance.blurred(rgb, rng(), sigma=sigma)
    assert np.abs(found - wanted).mean() < 0.5 + 0.1 * np.abs(rgb - wanted).mean()


@pytest.mark.parametrize("side", [56, 224, 448])
def test_a_drawing_is_the_picture_divided_by_its_blur(side: int) -> None:
    rgb = cv2.resize(picture(), (side, side))
    shades = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(float)
    paper = ndimage.gaussian_filter(shades, max(4 * side / 224, 0.5), mode="mirror")
    wanted = np.clip(255 * shades / np.maximum(paper, 1), 0, 255)
    found = appearance.drawn(rgb, rng())
    assert np.abs(found[..., 0] - wanted).mean() < 2.5
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("quality", [10, 60])
def test_a_jpeg_of_a_quality(quality: int) -> None:
    rgb = cv2.GaussianBlur(picture(160, 160, 3), (0, 0), 3)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=quality)
    theirs = np.asarray(Image.open(out)).astype(int)
    ours = appearance.compressed(rgb, rng(), quality=quality)
    assert np.abs(ours - theirs).mean() < 0.2 * np.abs(theirs - rgb).mean()


def test_hue_turns_by_its_definition() -> None:
    rgb = np.array([[[200, 40, 40], [40, 200, 40], [90, 90, 90]]], np.uint8)
    found = appearance.turned_hue(rgb, rng(), degrees=120)
    for before, after in zip(rgb[0] / 255, found[0] / 255, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*before)
        wanted = colorsys.hsv_to_rgb((h + 1 / 3) % 1, s, v)
        np.testing.assert_allclose(after, wanted, atol=0.02)


def test_values_by_their_definitions() -> None:
    rgb = picture()
    np.testing.assert_array_equal(appearance.inverted(rgb, rng()), 255 - rgb)
    levels = appearance.posterised(rgb, rng(), levels=4)
    assert set(np.unique(levels)) <= {0, 85, 170, 255}
    assert np.abs(levels.astype(int) - rgb).max() <= 43
    shades = appearance.grey(rgb, rng())
    np.testing.assert_allclose(shades[..., 0], rgb @ [0.299, 0.587, 0.114], atol=1)
    weak = appearance.contrast(rgb, rng(), factor=0.35)
    assert weak.std() == pytest.approx(0.35 * rgb.std(), rel=0.02)
    assert weak.mean() == pytest.approx(rgb.mean(), abs=0.5)
    middle = np.full((64, 64, 3), 128, np.uint8)
    assert appearance.noise(middle, rng(), sigma=25).std() == pytest.approx(25, rel=0.05)


def test_a_pencil_draws_contours_on_white() -> None:
    rgb = np.full((128, 128, 3), 200, np.uint8)
    rgb[32:96, 32:96] = (180, 30, 30)
    drawing = appearance.drawn(rgb, rng())[..., 0].astype(int)
    assert drawing[5, 5] > 250 < drawing[64, 64]
    assert drawing[64, 32:36].min() < 200


def test_blur_follows_the_size_of_the_picture() -> None:
    small = picture(64, 64)
    large = np.kron(small, np.ones((4, 4, 1))).astype(np.uint8)
    shrunk = appearance.blurred(large, rng(), sigma=8)[2::4, 2::4].astype(float)
    found = appearance.blurred(small, rng(), sigma=8).astype(float)
    assert np.abs(shrunk - found)[4:-4, 4:-4].mean() < 6


def test_every_change_has_a_title() -> None:
    assert list(appearance.TITLES) == list(CHANGES)
