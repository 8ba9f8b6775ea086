"""Quality of an edge map, and its exact way through 1-bit PNG bytes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from structxlip.cues import decode_edges, edge_density, encode_edges, given_edges, has_structure

SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)


@given(SHAPES.flatmap(lambda shape: arrays.arrays(np.bool_, shape)))
def test_round_trip_is_exact(edges):
    decoded = decode_edges(encode_edges(edges))
    assert decoded.dtype == np.bool_
    np.testing.assert_array_equal(decoded, edges)


@given(SHAPES.flatmap(lambda shape: arrays.arrays(np.bool_, shape)))
def test_density_is_the_fraction_of_edge_pixels(edges):
    assert edge_density(edges) == pytest.approx(sum(map(int, edges.flat)) / edges.size)


def test_one_bit_a_pixel():
    png = encode_edges(np.random.default_rng(0).random((128, 128)) < 0.5)
    assert png[24] == 1, "the bit depth of the header"
    assert len(png) < 128 * 128 / 8 + 500


@given(st.binary(max_size=200))
def test_bytes_that_are_no_png_are_refused(data):
    with pytest.raises(ValueError, match="not a PNG"):
        decode_edges(data)


def test_other_and_truncated_images_are_refused():
    _, jpeg = cv2.imencode(".jpg", np.zeros((8, 8), np.uint8))
    png = encode_edges(np.eye(64, dtype=bool))
    for data in (jpeg.tobytes(), png[:-1], png[: len(png) // 2]):
        with pytest.raises(ValueError, match="not a PNG"):
            decode_edges(data)


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros(4, bool), np.zeros((0, 2), bool)])
def test_only_edge_maps_are_encoded(bad):
    with pytest.raises(ValueError, match="edges must be bool"):
        encode_edges(bad)


def test_has_structure_has_both_bounds():
    def upper(pixels: int) -> np.ndarray:
        """A map of 100 rows of 100 pixels, of which the first so many are edges."""
        return (np.arange(10_000) < pixels).reshape(100, 100)

    assert [has_structure(upper(n)) for n in (0, 49, 50, 1000, 5000, 5001)] == [
        *[False, False, True, True, True, False]
    ]
    assert not has_structure(upper(1000), min_density=0.2, max_density=0.3)


@pytest.mark.parametrize("bright", [True, False])
def test_edges_that_somebody_drew_become_a_map(bright: bool) -> None:
    drawn = np.zeros((200, 300), bool)
    drawn[50:150, 40], drawn[50, 40:260], drawn[150, 40:261] = True, True, True
    picture = np.repeat(np.where(drawn == bright, 255, 0).astype(np.uint8)[..., None], 3, axis=2)
    found = given_edges(picture, 64)
    assert found.shape == (64, 64)
    assert found.dtype == np.bool_
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max(), columns.min()) == (16, 48, 8)
    assert found[16, 10:50].all()  # a line of one pixel in 3 rows and 5 columns stays whole
    assert found.mean() < 0.1
