"""Detectors beside their definitions: what a threshold means, and what is drawn."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import ndimage

from structxlip.cues import Detector, find_detector, given_edges
from structxlip.cues.detectors.canny import gradients, thresholds
from structxlip.cues.prepare import (
    LOW_TO_HIGH,
    grey_square,
    hysteresis,
    large_gradients,
    otsu,
    zero_crossings,
)
from structxlip.cues.regions import _pixel_box
from tests.networks import write_network

SIZE = 64


def picture(seed: int = 0, size: int = SIZE) -> NDArray[np.uint8]:
    """Smooth random spots, ``uint8 [size, size, 3]``."""
    spots = np.random.default_rng(seed).normal(0, 1, (size, size))
    smooth = ndimage.gaussian_filter(spots, 2)
    grey = np.uint8(128 + 100 * smooth / np.abs(smooth).max())
    return np.repeat(grey[..., None], 3, axis=2)


def step(axis: int) -> NDArray[np.uint8]:
    """A picture whose second half is brighter by 100 grey levels."""
    image = np.full((SIZE, SIZE, 3), 50, np.uint8)
    image[(slice(None),) * axis + (slice(SIZE // 2, None),)] = 150
    return image


def strength(cue: Detector, image: NDArray[np.uint8], blur_sigma: float) -> float:
    """The highest threshold at which a detector still sees an edge."""
    low, high = 0.0, 2000.0
    while high - low > 0.05:
        middle = (low + high) / 2
        seen = cue(image, size_px=SIZE, blur_sigma=blur_sigma, low=middle / 2, high=middle).any()
        low, high = (middle, high) if seen else (low, middle)
    return low


@pytest.mark.parametrize(("low", "high"), [(2.0, 6.0), (10.0, 20.0)])
def test_log_is_its_definition(low: float, high: float) -> None:
    grey = grey_square(picture(), size_px=SIZE, blur_sigma=0)
    kernel = np.array([[2, 0, 2], [0, -8, 0], [2, 0, 2]])  # the 3x3 Laplacian of OpenCV
    response = ndimage.convolve(grey.astype(np.float32), kernel, mode="mirror")
    found = find_detector("log")(picture(), size_px=SIZE, blur_sigma=0, low=low, high=high)
    np.testing.assert_array_equal(found, zero_crossings(response, low, high))
    assert 0 < found.mean() < 0.9


@given(
    response=arrays(np.float32, st.tuples(st.integers(2, 7), st.integers(2, 7)),
                    elements=st.sampled_from([-9.0, -3.0, -0.5, 0.0, 0.5, 2.0, 8.0])),
)  # fmt: skip
def test_a_crossing_is_where_the_sign_changes(response: NDArray[np.float32]) -> None:
    steps = np.zeros_like(response)
    height, width = response.shape
    for y in range(height):
        for x in range(width):
            for other in ((y + 1, x), (y, x + 1)):
                if other[0] < height and other[1] < width:
                    one, two = response[y, x], response[other]
                    if (one > 0) != (two > 0):
                        steps[y, x] = max(steps[y, x], abs(one - two))
    for low, high in ((0.0, 0.4), (1.0, 3.0), (4.0, 9.0)):
        wanted = hysteresis(steps, max(low, 1e-30), high)
        np.testing.assert_array_equal(zero_crossings(response, low, high), wanted)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("blur_sigma", [1.5, 2.0])  # wider blurs are rounded to grey levels
def test_dog_is_nearly_the_laplacian_at_the_scale_between_its_two(
    axis: int, blur_sigma: float
) -> None:
    """A step of 100 levels, by the Laplacian of a Gaussian whose scale is the mean of the two."""
    between = blur_sigma * np.sqrt((1 + 1.6**2) / 2)
    x = np.arange(-40, 40)
    edge = ndimage.gaussian_filter1d(np.where(x < 0, 50.0, 150.0), between, order=2, truncate=8)
    crossing = abs(edge[40] - edge[39])  # on both sides of the step
    found = strength(find_detector("dog"), step(axis), blur_sigma)
    assert found == pytest.approx(crossing, rel=0.15)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", ["sobel", "scharr"])
def test_a_gradient_is_that_of_a_step(name: str, axis: int) -> None:
    assert strength(find_detector(name), step(axis), 0) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize("name", ["sobel", "scharr"])
def test_a_gradient_across_has_the_same_length(name: str) -> None:
    x, y = np.meshgrid(np.arange(SIZE), np.arange(SIZE))
    ramp = np.repeat(np.uint8(3 * x + y)[..., None], 3, axis=2)
    wanted = 2 * np.hypot(3, 1)  # over two pixels
    assert strength(find_detector(name), ramp[8:40, 8:40].repeat(2, 0).repeat(2, 1), 0) > 0
    found = find_detector(name)(
        ramp, size_px=SIZE, blur_sigma=0, low=wanted - 0.1, high=wanted - 0.05
    )
    assert found[2:-2, 2:-2].all()
    none = find_detector(name)(
        ramp, size_px=SIZE, blur_sigma=0, low=wanted + 0.05, high=wanted + 0.1
    )
    assert not none.any()


@pytest.mark.parametrize("name", ["log", "sobel", "scharr", "dog", "lsd"])
def test_the_blur_is_one_pixel_of_the_map_by_default(name: str) -> None:
    cue, image = find_detector(name), picture(1, 128)
    default = cue(image, size_px=SIZE)
    np.testing.assert_array_equal(default, cue(image, size_px=SIZE, blur_sigma=1.0))
    assert not np.array_equal(default, cue(image, size_px=SIZE, blur_sigma=2.0))


def test_segments_are_chosen_by_their_length() -> None:
    image = np.full((128, 128, 3), 20, np.uint8)
    image[20:26, 30:110] = 220  # 80 pixels wide
    image[70:100, 90:96] = 220  # 30 pixels high
    lsd = find_detector("lsd")
    every = lsd(image, size_px=128)
    assert every[:40].any()
    assert every[60:].any()
    long = lsd(image, size_px=128, low=50, high=500)
    assert 100 < long[:40].sum() <= every[:40].sum()
    assert not long[60:].any()
    short = lsd(image, size_px=128, low=15, high=50)
    assert 40 < short[60:].sum() <= every[60:].sum()
    assert not short[:40].any()


@given(
    response=arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)),
                    elements=st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0])),
)  # fmt: skip
def test_hysteresis_is_its_definition(response: NDArray[np.float32]) -> None:
    low, high = 2.0, 3.0
    edges = response >= high
    for _ in range(response.size):  # grow along weak pixels, over corners too
        grown = ndimage.binary_dilation(edges, np.ones((3, 3))) & (response >= low)
        edges = edges | grown
    np.testing.assert_array_equal(hysteresis(response, low, high), edges)


@given(
    response=arrays(
        np.float32, 30, elements=st.sampled_from([0.0, 0.4, 0.6, 9.0, 80.0, 254.0, 300.0])
    )
)
def test_otsu_is_its_definition(response: NDArray[np.float32]) -> None:
    levels = [min(255, round(float(value))) for value in response]

    def between(threshold: int) -> float:
        above = [level for level in levels if level > threshold]
        below = [level for level in levels if level <= threshold]
        if not above or not below:
            return 0.0
        return len(above) * len(below) * (np.mean(above) - np.mean(below)) ** 2

    found = otsu(response[None], 0)
    best = max(between(threshold) for threshold in range(256))
    assert between(int(found)) == pytest.approx(best)
    assert otsu(response[None], 7) == max(found, 7)


def test_without_thresholds_gradients_follow_otsu() -> None:
    gradient = np.float32(picture(3)[..., 0])
    high = otsu(gradient, 0)
    found = large_gradients(gradient, None, None)
    np.testing.assert_array_equal(found, hysteresis(gradient, LOW_TO_HIGH * high, high))
    np.testing.assert_array_equal(found, large_gradients(gradient, 1.0, None))
    assert not np.array_equal(found, hysteresis(gradient, 0.9 * high, high))


def test_without_thresholds_crossings_follow_otsu() -> None:
    grey = grey_square(picture(4), size_px=SIZE, blur_sigma=0)
    response = 20 * ndimage.laplace(grey.astype(np.float32))
    every = zero_crossings(response, 0.0, 1e-6)
    sizes = np.maximum(
        np.abs(np.diff(response, axis=1, append=0)) * (np.diff(response > 0, axis=1, append=False)),
        np.abs(np.diff(response, axis=0, append=0)) * (np.diff(response > 0, axis=0, append=False)),
    )[:-1, :-1]
    high = otsu(sizes[sizes > 0][None], 16)
    found = zero_crossings(response, None, None)
    assert high > 16
    assert found.sum() < every.sum()
    wanted = zero_crossings(response, LOW_TO_HIGH * high, high)
    assert (found != wanted).mean() < 0.02
    assert (found != zero_crossings(response, 0.9 * high, high)).mean() > 0.02


def test_local_canny_follows_the_strongest_edge_nearby() -> None:
    image = picture(5, 128)
    image[:64] = 128 + (image[:64].astype(int) - 128) // 8  # faint above, strong below
    dx, dy = gradients(image, size_px=SIZE, blur_sigma=1.0)
    low, high = thresholds(dx, dy)
    strength = np.abs(dx.astype(float)) + np.abs(dy)
    side = round(0.2 * SIZE) | 1
    strongest = ndimage.grey_dilation(strength, size=side, mode="nearest")
    local = 0.35 * ndimage.gaussian_filter(strongest, side / 4, mode="mirror")
    gain = high / np.clip(local, 16, high)
    scaled = [(values * gain).astype(np.int16) for values in (dx, dy)]
    wanted = cv2.Canny(*scaled, low, high) > 0
    found = find_detector("canny_local")(image, size_px=SIZE)
    assert (found != wanted).mean() < 0.02
    plain = find_detector("canny")(image, size_px=SIZE)
    assert found[:28].sum() > 2 * plain[:28].sum()


def test_local_canny_with_thresholds_is_canny() -> None:
    for arguments in ({"low": 30.0, "high": 90.0}, {"low": 30.0, "high": 90.0, "blur_sigma": 2.5}):
        found = find_detector("canny_local")(picture(2, 128), size_px=SIZE, **arguments)  # type: ignore[arg-type]
        plain = find_detector("canny")(picture(2, 128), size_px=SIZE, **arguments)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found, plain)


# --- Learned detectors


def of(folder: Path, **network: object) -> Detector:
    write_network(folder / "net.onnx", **network)  # type: ignore[arg-type]
    return find_detector("learned", str(folder / "net.onnx"))


def red(*levels: int) -> NDArray[np.uint8]:
    """Columns of equal width with these levels of red, 64 pixels a side."""
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    for number, column in enumerate(np.array_split(np.arange(SIZE), len(levels))):
        image[:, column, 0] = levels[number]
    return image


def test_thresholds_of_a_learned_detector(tmp_path: Path) -> None:
    learned, image = of(tmp_path), red(0, 100, 128, 128)
    probability = image[..., 0] / 255
    for low, high in ((0.3, 0.5), (0.39, 0.4), (0.45, 0.501), (0.2, 0.503)):
        found = learned(image, size_px=SIZE, low=low, high=high)
        np.testing.assert_array_equal(found, hysteresis(np.float32(probability), low, high))
    np.testing.assert_array_equal(
        learned(image, size_px=SIZE), learned(image, size_px=SIZE, low=0.3, high=0.5)
    )
    assert learned(image, size_px=SIZE).mean() == 0.75


def test_a_learned_detector_reads_an_averaged_picture(tmp_path: Path) -> None:
    stripes = red(*[0, 255] * 64).repeat(2, axis=0).repeat(2, axis=1)  # 128 pixels, 2 a stripe
    stripes[:, ::4] = 0
    found = of(tmp_path)(stripes, size_px=SIZE, low=0.2, high=0.24)
    shrunk = cv2.resize(stripes, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., 0] / 255
    np.testing.assert_array_equal(found, hysteresis(np.float32(shrunk), 0.2, 0.24))


def test_a_smaller_map_is_enlarged(tmp_path: Path) -> None:
    found = of(tmp_path, stride=2)(red(0, 255), size_px=SIZE, low=0.3, high=0.7)
    assert found.shape == (SIZE, SIZE)
    assert not found[:, :31].any()
    assert found[:, 34:].all()


def test_of_several_outputs_the_last_one_counts(tmp_path: Path) -> None:
    found = of(tmp_path, outputs=2)(red(0, 255), size_px=SIZE)
    assert found[:, :32].all()  # the last output is 1 - red
    assert not found[:, 32:].any()


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ({"channels": 2}, r"gives \(1, 2, 32, 32\), where one map was expected"),
        ({"fixed": True}, r"does not take images \[1, 3, S, S\]"),
    ],
)
def test_networks_that_give_no_map(
    tmp_path: Path, network: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=rf"net\.onnx {message}"):
        of(tmp_path, **network)(red(0, 255), size_px=SIZE // 2)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((8, 8, 3), np.float32),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 4), np.uint8),
        np.zeros((0, 8, 3), np.uint8),
        np.zeros((1, 8, 8, 3), np.uint8),
    ],
)
def test_pictures_that_a_learned_detector_refuses(tmp_path: Path, image: NDArray[np.uint8]) -> None:
    message = rf"image must be uint8 \[height, width, 3\], not {image.dtype} \{image.shape}"
    with pytest.raises(ValueError, match=message.replace(")", r"\)")):
        of(tmp_path)(image, size_px=SIZE)


# --- Maps that a dataset brings along, and boxes


@pytest.mark.parametrize(("height", "width"), [(64, 64), (256, 64), (64, 256), (256, 256)])
def test_thin_lines_of_given_maps_stay(height: int, width: int) -> None:
    """A line of half a pixel of the map covers half of it, whatever the sides of the map."""
    given = np.zeros((height, width, 3), np.uint8)
    given[height // 2 : height // 2 + max(1, height // 128)] = 255
    given[:, width // 4 : width // 4 + max(1, width // 128)] = 255
    found = given_edges(given, SIZE)
    wanted = np.zeros((SIZE, SIZE), np.bool_)
    wanted[32], wanted[:, 16] = True, True
    np.testing.assert_array_equal(found, wanted)
    np.testing.assert_array_equal(given_edges(255 - given, SIZE), wanted)


def test_a_small_given_map_is_enlarged_smoothly() -> None:
    lines = np.random.default_rng(0).random((6, 6)) < 0.3
    given = np.repeat(255 * lines.astype(np.uint8)[..., None], 3, axis=2)
    found = given_edges(given, 15)
    for method, same in ((cv2.INTER_LINEAR, True), (cv2.INTER_AREA, False)):
        resized = cv2.resize(lines.astype(np.float32), (15, 15), interpolation=method) > 0.25
        assert np.array_equal(found, resized) == same


@pytest.mark.parametrize(("grey", "edge"), [(63, False), (64, True)])
def test_a_quarter_of_the_brightness_is_a_line(grey: int, edge: bool) -> None:
    given = np.zeros((8, 8, 3), np.uint8)
    given[3] = grey
    assert given_edges(given, 8)[3].all() == edge


@pytest.mark.parametrize(
    ("box", "pixels"),
    [
        ((0.0, 0.0, 1.0, 1.0), (0, 0, 20, 10)),
        ((0.5, 0.25, 0.1, 0.5), (10, 2, 2, 6)),
        ((1.0, 1.0, 0.5, 0.5), (19, 9, 1, 1)),
        ((-0.5, -0.5, 0.1, 0.1), (0, 0, 1, 1)),
        ((0.9, 0.9, 0.5, 0.5), (18, 9, 2, 1)),
        ((0.951, 0.0, 0.0, 0.0), (19, 0, 1, 1)),
    ],
)
def test_a_box_is_all_pixels_that_it_touches(
    box: tuple[float, float, float, float], pixels: tuple[int, int, int, int]
) -> None:
    assert _pixel_box(box, (10, 20)) == pixels
