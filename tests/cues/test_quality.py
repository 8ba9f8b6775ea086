"""Maps of things have structure; maps of noise, of texture alone, and blank ones have none."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import canny, has_structure, unevenness, usable_map
from structxlip.data.images import decode_rgb
from tests.scenes import draw

Y, X = np.mgrid[:240, :320]
RNG = np.random.default_rng(0)
GAUSSIAN = RNG.standard_normal((240, 320))


def picture(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """An image that spans black to white, ``uint8 [h, w, 3]``."""
    grey = 255 * (values - values.min()) / np.ptp(values)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def blurred(sigma: float, across: float = 0.0) -> NDArray[np.uint8]:
    return picture(cv2.GaussianBlur(GAUSSIAN, (0, 0), sigma, sigmaY=across or sigma))


def packed(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    jpeg = cv2.imencode(".jpg", rgb, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return decode_rgb(jpeg.tobytes())


def bricks() -> NDArray[np.uint8]:
    joints = (Y % 16 < 2) | ((X + Y // 16 % 2 * 16) % 32 < 2)
    return picture(joints + 0.1 * GAUSSIAN)


TEXTURES: dict[str, Callable[[], NDArray[np.uint8]]] = {
    "noise": lambda: picture(GAUSSIAN),
    "noise of colours": lambda: RNG.integers(0, 256, (240, 320, 3)).astype(np.uint8),
    "noise in a JPEG": lambda: packed(picture(GAUSSIAN)),
    "fine grain": lambda: blurred(1),
    "grain": lambda: blurred(2),
    "coarse grain": lambda: blurred(4),
    "grass": lambda: blurred(1, 8),
    "salt and pepper": lambda: picture((GAUSSIAN > 2) * 1.0 - (GAUSSIAN < -2)),
    "weave": lambda: picture(np.sin(X / 2) * np.sin(Y / 2) + 0.2 * GAUSSIAN),
    "checks": lambda: picture((X // 16 + Y // 16) % 2 + 0.05 * GAUSSIAN),
    "bricks": bricks,
}


@pytest.mark.parametrize(
    ("texture", "size_px"),
    [*product(TEXTURES, (128, 224)), *product(("noise", "noise in a JPEG", "grain"), (64, 96))],
)
def test_noise_and_texture_have_no_structure(texture: str, size_px: int) -> None:
    edges = canny(TEXTURES[texture](), size_px=size_px)
    assert edges.mean() > 0.05, "density alone would take it"
    assert not has_structure(edges)


@pytest.mark.parametrize("size_px", [32, 64, 128, 224])
def test_scenes_have_structure(size_px: int) -> None:
    for index in range(30):
        assert has_structure(canny(draw(index).image, size_px=size_px))


def test_a_thing_before_a_texture_has_structure() -> None:
    image = bricks()
    cv2.circle(image, (160, 120), 70, (240, 240, 240), -1)
    assert has_structure(canny(image, size_px=128))


@given(arrays.arrays(np.bool_, st.sampled_from([(64, 64), (128, 128), (64, 24), (9, 17), (1, 1)])))
def test_unevenness_is_that_of_the_cells(edges: NDArray[np.bool_]) -> None:
    rows, columns = (min(max(side // 8, 1), 8) for side in edges.shape)
    height, width = edges.shape[0] / rows, edges.shape[1] / columns
    if height.is_integer() and width.is_integer():
        cells = edges.reshape(rows, int(height), columns, int(width)).mean(axis=(1, 3))
        expected = cells.std() / cells.mean() if edges.any() else 0.0
        assert unevenness(edges) == pytest.approx(expected, abs=1e-4)
    assert unevenness(edges) >= 0


@pytest.mark.parametrize(("right_every", "expected"), [(7, False), (6, True)])
def test_the_least_unevenness(right_every: int, expected: bool) -> None:
    """Lines on the left every 10 pixels, on the right closer: 0.18 and 0.25."""
    edges = np.zeros((1680, 1680), np.bool_)  # each cell holds whole periods
    edges[::10, :840] = True
    edges[::right_every, 840:] = True
    assert unevenness(edges) == pytest.approx((10 - right_every) / (10 + right_every), abs=1e-3)
    assert has_structure(edges) == expected


def test_parameters_decide() -> None:
    edges = canny(draw(0).image, size_px=128)
    found = unevenness(edges)
    assert usable_map(edges, Edges(min_unevenness=found - 0.01))
    assert not usable_map(edges, Edges(min_unevenness=found + 0.01))
    assert not usable_map(edges, Edges(min_density=0.4))
    assert not usable_map(edges, Edges(max_density=0.006))
    assert usable_map(canny(bricks(), size_px=128), Edges(min_unevenness=0))
