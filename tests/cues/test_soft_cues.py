"""Soft cues equal their definitions, and depend on the outlines alone."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import (
    ConfiguredCue,
    EdgeMap,
    branch_input,
    decode_edges,
    detectors,
    edge_density,
    encode_edges,
    find_detector,
    usable_map,
    usable_or_blank,
)
from structxlip.cues.gradients import normalised_gradient

SIDE = 32


def picture(seed: int, side: int = SIDE) -> NDArray[np.uint8]:
    """Smooth shapes, ``uint8 [side, side, 3]``."""
    rough = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(cv2.resize(rough, (side, side), interpolation=cv2.INTER_CUBIC), np.uint8)


def naive_gradient(grey: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixel by pixel, of a grey square that is not blurred."""
    side = len(grey)
    level = np.pad(grey / 255, 1, mode="edge")
    size, angle = np.zeros((side, side)), np.zeros((side, side))
    for y in range(side):
        for x in range(side):
            part = level[y : y + 3, x : x + 3]
            dx = (part[:, 2] - part[:, 0]) @ (1, 2, 1) / 8
            dy = (part[2] - part[0]) @ (1, 2, 1) / 8
            size[y, x], angle[y, x] = math.sqrt(dx * dx + dy * dy + 1e-10), math.atan2(dy, dx)
    half = 3  # 25 of 128 pixels are 7 of 32
    around = np.zeros_like(size)
    for y in range(side):
        for x in range(side):
            rows = slice(max(y - half, 0), y + half + 1)
            around[y, x] = size[rows, max(x - half, 0) : x + half + 1].mean()
    return np.minimum(size / (around + size.mean() / 2 + 0.01), 4) / 2, angle


def naive_cells(grey: NDArray[np.uint8], cells: int) -> NDArray[np.float64]:
    size, angle = naive_gradient(grey)
    pixels = len(grey) // cells
    found = np.zeros((8, cells, cells))
    for y in range(cells):
        for x in range(cells):
            part = np.s_[y * pixels : (y + 1) * pixels, x * pixels : (x + 1) * pixels]
            for k in range(8):
                share = np.maximum(np.cos(2 * (angle[part] - k * np.pi / 8)), 0) ** 2
                found[k, y, x] = (size[part] * share).mean()
            found[:, y, x] /= math.sqrt((found[:, y, x] ** 2).sum()) + 0.05
    return found


def test_the_gradient_is_its_definition() -> None:
    grey = picture(0)[..., 0]
    size, angle = normalised_gradient(grey, size_px=SIDE, blur_sigma=0)
    wanted, turned = naive_gradient(grey)
    np.testing.assert_allclose(size, wanted, atol=1e-5)
    steep = wanted > 0.05  # where it is flat, rounding turns it
    apart = np.angle(np.exp(1j * (angle - turned)))
    np.testing.assert_allclose(apart[steep], 0, atol=1e-3)


@pytest.mark.parametrize("cells", [8, 16])
def test_orientations_are_their_definition(cells: int) -> None:
    grey = picture(1)[..., 0]
    found = find_detector("orientations")(grey, size_px=SIDE, blur_sigma=0, cells=cells)  # type: ignore[call-arg]
    assert found.shape == (8, cells, cells)
    np.testing.assert_allclose(found, 255 * naive_cells(grey, cells), atol=1)


def test_a_soft_map_is_the_gradient() -> None:
    grey = picture(2)[..., 0]
    found = find_detector("gradient")(grey, size_px=SIDE, blur_sigma=0)
    wanted = 255 * np.minimum(naive_gradient(grey)[0], 1)
    np.testing.assert_allclose(found[0], wanted, atol=255 / 15 / 2 + 0.1)
    assert set(np.unique(found)) <= set(range(0, 256, 17))


@pytest.mark.parametrize("degrees", range(0, 180, 15))
def test_an_outline_fills_the_bin_across_it(degrees: int) -> None:
    """Stripes whose brightness rises at an angle."""
    y, x = np.mgrid[:128, :128]
    turn = np.radians(degrees)
    wave = np.sin((x * np.cos(turn) + y * np.sin(turn)) / 4)
    stripes = (127 + 100 * wave).astype(np.uint8)
    cells = find_detector("orientations")(stripes, size_px=128)
    strongest = np.bincount(cells[:, 2:-2, 2:-2].argmax(axis=0).ravel(), minlength=8).argmax()
    nearest = {round(degrees / 22.5) % 8, math.floor(degrees / 22.5 + 0.5) % 8}
    assert strongest in nearest


def changed(image: NDArray[np.uint8], change: str) -> NDArray[np.uint8]:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 60) % 180
    changes = {
        "inverted": 255 - image,
        "hue": cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB),
        "contrast": np.rint(127 + 0.4 * (image.astype(float) - 127)).astype(np.uint8),
    }
    return np.asarray(changes[change], np.uint8)


@given(seed=st.integers(0, 50), change=st.sampled_from(["inverted", "contrast"]))
def test_cells_outlast_changes_of_brightness(seed: int, change: str) -> None:
    image = picture(seed, 128)
    cue = ConfiguredCue(Edges(cue="orientations"))
    before, after = (branch_input(cue(rgb)) for rgb in (image, changed(image, change)))
    assert np.abs(after - before).mean() < (0.01 if change == "inverted" else 0.05)
    other = branch_input(cue(picture(seed + 100, 128)))
    assert np.abs(after - before).mean() < np.abs(other - before).mean() / 3


@given(shape=st.sampled_from([(1, 32, 32), (8, 16, 16), (3, 8, 8)]), seed=st.integers(0, 9))
def test_soft_maps_are_decoded_as_they_were(shape: tuple[int, ...], seed: int) -> None:
    edges = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    decoded = decode_edges(encode_edges(edges))
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, edges)
    np.testing.assert_array_equal(branch_input(edges), (edges / 255).astype(np.float32))


def test_a_picture_of_cells_takes_two_kilobytes() -> None:
    cue = ConfiguredCue(Edges(cue="orientations"))
    assert max(len(encode_edges(cue(picture(seed, 224)))) for seed in range(20)) < 2300


@pytest.mark.parametrize("cue", ["gradient", "orientations"])
def test_density_counts_what_is_strong(cue: str) -> None:
    settings = Edges(cue=cue)
    find = ConfiguredCue(settings)
    blank, noise = np.full((64, 64, 3), 99, np.uint8), np.random.default_rng(0)
    sensor = noise.normal(128, 1.5, (300, 400, 3)).astype(np.uint8)
    half = blank.copy()
    half[:, :32] = 200
    for flat in (blank, sensor):
        assert edge_density(find(flat)) < 0.005
        assert not usable_map(find(flat), settings)
        assert not usable_or_blank(find(flat), settings).any()
    assert 0.01 < edge_density(find(half)) < 0.4
    np.testing.assert_array_equal(usable_or_blank(find(half), settings), find(half))


def test_strong_means_above_a_half() -> None:
    cells = np.zeros((2, 4, 4), np.uint8)
    cells[:, 0, 0] = 91  # norm 128.7
    cells[:, 0, 1] = 90  # norm 127.3
    assert edge_density(cells) == 1 / 16
    assert edge_density(np.array([[[127, 128], [255, 0]]], np.uint8)) == 0.5


@pytest.mark.parametrize("cue", ["gradient", "orientations"])
@pytest.mark.parametrize("thresholds", [{"low": 1.0}, {"high": 2.0}])
def test_soft_cues_take_no_thresholds(cue: str, thresholds: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"the cue {cue} is soft and has no thresholds"):
        find_detector(cue)(picture(0), size_px=SIDE, **thresholds)


@pytest.mark.parametrize("cue", ["gradient", "orientations"])
def test_soft_cues_refuse_what_binary_ones_refuse(cue: str) -> None:
    find = find_detector(cue)
    with pytest.raises(ValueError, match="an image must be uint8"):
        find(np.zeros((4, 4, 2), np.uint8), size_px=SIDE)
    with pytest.raises(ValueError, match="blur_sigma >= 0"):
        find(picture(0), size_px=SIDE, blur_sigma=-1)


def test_cells_divide_the_picture() -> None:
    with pytest.raises(ValueError, match="multiple of cells, not 100 and 16"):
        find_detector("orientations")(picture(0), size_px=100)


# --- A cue as the parameters name it


def ramp(image: NDArray[np.uint8], *, size_px: int, **_: object) -> EdgeMap:
    """A cue of somebody else's, without cells."""
    return np.full((1, size_px, size_px), image.mean(), np.uint8)


def failing(image: NDArray[np.uint8], **_: object) -> EdgeMap:
    raise RuntimeError("no such layer")


def named(monkeypatch: pytest.MonkeyPatch, cue: object) -> Edges:
    monkeypatch.setattr(detectors, "find_detector", lambda *_: cue)
    return Edges(cue="mine", size_px=64)


def test_a_cue_says_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {name: ConfiguredCue(Edges(cue=name)) for name in ("canny", "gradient", "orientations")}
    assert {name: (cue.is_binary, cue.channels) for name, cue in kinds.items()} == {
        "canny": (True, 1),
        "gradient": (False, 1),
        "orientations": (False, 8),
    }
    assert ConfiguredCue(Edges(cue="orientations", cells=8)).blank.shape == (8, 8, 8)
    own = ConfiguredCue(named(monkeypatch, ramp))
    assert (own.is_binary, own.channels, own.blank.shape) == (False, 1, (1, 64, 64))


def test_a_cue_that_fails_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="the cue 'mine' is broken: no such layer"):
        ConfiguredCue(named(monkeypatch, failing))
    with pytest.raises(ValueError, match=r"the cue 'mine' must return bool \[64, 64\] or uint8"):
        ConfiguredCue(named(monkeypatch, lambda *_, **__: np.zeros((64, 64))))


@pytest.mark.parametrize("cue", ["canny", "gradient", "orientations"])
def test_a_given_map_has_the_form_of_the_cue(cue: str) -> None:
    lines = np.zeros((128, 128, 3), np.uint8)
    cv2.circle(lines, (64, 64), 40, (255, 255, 255), 1)
    find = ConfiguredCue(Edges(cue=cue))
    found = find.of_given(lines)
    assert (found.dtype, found.shape) == (find.blank.dtype, find.blank.shape)
    assert usable_map(found, find.settings)
    rows = np.flatnonzero(branch_input(found).max(axis=0).max(axis=1) > 0.3) / found.shape[-1]
    assert rows.min() == pytest.approx(24 / 128, abs=0.08)
    assert rows.max() == pytest.approx(104 / 128, abs=0.08)
