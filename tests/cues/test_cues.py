"""Every cue outlines what is there, follows the contrast, and is found by its name."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import (
    ConfiguredCue,
    Detector,
    built_in_cues,
    canny,
    detectors,
    find_detector,
    has_structure,
)
from structxlip.cues.prepare import percentiles
from tests.networks import write_network


def disc(bright: int, dark: int) -> NDArray[np.uint8]:
    """A disc of radius 60 in the middle of 200 x 200 pixels."""
    image = np.full((200, 200, 3), dark, np.uint8)
    cv2.circle(image, (100, 100), 60, (bright,) * 3, -1)
    return image


def distance_to_outline(edges: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The distance of each edge pixel to the disc's outline, in pixels of a map of 128."""
    y, x = np.nonzero(edges)
    return np.abs(np.hypot(x + 0.5 - 64, y + 0.5 - 64) - 60 * 128 / 200)


@given(
    grey=arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40))),
    percents=st.tuples(*2 * [st.floats(0, 100)]),
)
def test_percentiles_are_those_of_numpy(
    grey: NDArray[np.uint8], percents: tuple[float, float]
) -> None:
    found = percentiles(grey, percents)
    np.testing.assert_allclose(found, np.percentile(grey, percents), atol=1e-6)


BINARY = [name for name in built_in_cues() if ConfiguredCue(Edges(cue=name)).is_binary]


@pytest.fixture(params=BINARY)
def cue(request: pytest.FixtureRequest) -> Detector:
    return find_detector(request.param)


@pytest.mark.parametrize(("bright", "dark"), [(220, 30), (30, 220), (140, 120), (118, 110)])
def test_edges_are_on_the_outline_whatever_the_contrast(
    cue: Detector, bright: int, dark: int
) -> None:
    edges = cue(disc(bright, dark), size_px=128)
    assert edges.shape == (128, 128)
    assert edges.dtype == np.bool_
    assert has_structure(edges)
    assert np.percentile(distance_to_outline(edges), 90) < 4
    y, x = np.nonzero(edges)
    sectors = np.unique(np.arctan2(y - 64, x - 64) // (np.pi / 6))
    assert len(sectors) >= 11, "the outline has holes"


def test_grey_images_are_taken_too(cue: Detector) -> None:
    colour = disc(220, 30)
    grey = cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(cue(grey, size_px=64), cue(colour, size_px=64))


@pytest.mark.parametrize("grey", [0, 127, 255])
def test_a_blank_image_has_no_edges(cue: Detector, grey: int) -> None:
    assert not cue(np.full((50, 80, 3), grey, np.uint8), size_px=64).any()


def test_noise_of_a_sensor_is_no_structure(cue: Detector) -> None:
    noise = np.random.default_rng(0).normal(128, 1.5, (300, 400, 3)).astype(np.uint8)
    assert not has_structure(cue(noise, size_px=128))


def test_thresholds_bound_the_edges(cue: Detector) -> None:
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    some = cue(image, size_px=96, low=4, high=8)
    none = cue(image, size_px=96, low=5000, high=9000)
    assert some.any()
    assert not none.any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 10.0}, "low < high or neither"),
        ({"low": 20.0, "high": 10.0}, "low < high or neither"),
        ({"size_px": 0}, "size_px >= 1"),
        ({"blur_sigma": -1.0}, "blur_sigma >= 0"),
        ({"image": np.zeros((4, 4, 2), np.uint8)}, "an image must be uint8"),
    ],
)
def test_refusals(cue: Detector, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cue(**{"image": np.zeros((4, 4, 3), np.uint8), "size_px": 8, **arguments})


def test_a_difference_needs_a_blur() -> None:
    with pytest.raises(ValueError, match="dog needs a blur_sigma above 0"):
        find_detector("dog")(disc(200, 20), size_px=64, blur_sigma=0)


def test_gradients_are_those_of_the_definition() -> None:
    ramp = np.repeat(np.arange(0, 250, 10, dtype=np.uint8)[None], 25, axis=0)
    image = np.repeat(ramp[..., None], 3, axis=2)
    for name in ("sobel", "scharr"):
        slope = {"blur_sigma": 0, "size_px": 25}  # 10 grey levels a pixel: 20 over two
        assert find_detector(name)(image, low=19, high=19.9, **slope)[:, 1:-1].all()
        assert not find_detector(name)(image, low=20.1, high=21, **slope).any()


# --- Cues by name


def test_cues_are_found_by_name() -> None:
    assert find_detector("canny") is canny
    with pytest.raises(ValueError, match="unknown cue 'cany'; did you mean 'canny'"):
        find_detector("cany")
    every = "canny, canny_local, dog, gradient, learned, log, lsd, orientations, scharr, sobel"
    with pytest.raises(ValueError, match=f"valid are: {every}"):
        find_detector("x")


def nothing(rgb: NDArray[np.uint8], *, size_px: int, **_: object) -> NDArray[np.bool_]:
    return np.zeros((size_px, size_px), np.bool_)


def test_a_package_adds_a_cue(monkeypatch: pytest.MonkeyPatch) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [
            EntryPoint("nothing", f"{__name__}:nothing", group),
            EntryPoint("broken", "no_such_module:cue", group),
        ]

    def only_ours(group: str | None = None) -> list[EntryPoint]:
        assert group == "structxlip.cues"
        return entry_points(group)

    monkeypatch.setattr(detectors, "entry_points", only_ours)
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(
        nothing=nothing
    ))  # fmt: skip
    assert find_detector("nothing") is nothing
    with pytest.raises(ValueError, match="the cue 'broken' of no_such_module:cue is broken"):
        find_detector("broken")
    with pytest.raises(ValueError, match="did you mean 'nothing'"):
        find_detector("nothin")


# --- Learned detectors


@pytest.fixture(scope="module")
def brightness_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "red.onnx"
    write_network(path)
    return path


def test_a_learned_detector_gives_its_probabilities(brightness_onnx: Path) -> None:
    image = np.zeros((128, 128, 3), np.uint8)
    image[:, :64, 0], image[:, 64:, 1] = 200, 255  # red of 0.78 on the left, green on the right
    learned = find_detector("learned", str(brightness_onnx))
    edges = learned(image, size_px=64)
    assert edges[:, :32].all()
    assert not edges[:, 32:].any()
    assert not learned(image, size_px=64, low=0.8, high=0.9).any()


def test_weights_that_are_not_what_they_say_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"bad\.onnx is no ONNX network that OpenCV reads"):
        find_detector("learned", str(tmp_path / "bad.onnx"))
    with pytest.raises(ValueError, match=r"there is no weight file .*gone\.onnx"):
        find_detector("learned", str(tmp_path / "gone.onnx"))
    with pytest.raises(ValueError, match=r"got 'learned' with none$"):
        find_detector("learned")
    with pytest.raises(ValueError, match="'learned' needs weights, an ONNX file"):
        find_detector("learned")
    with pytest.raises(ValueError, match=r"no other takes any; got 'canny' with a\.onnx"):
        find_detector("canny", "a.onnx")
