"""Regions are the boxes of connected structure, the most edges first."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from structxlip.cues import Region, edge_regions
from structxlip.cues.regions import MAX_AREA, MAX_OVERLAP, MIN_SIDE, overlap


def outline(edges: NDArray[np.bool_], x: int, y: int, w: int, h: int) -> None:
    edges[y, x : x + w] = edges[y + h - 1, x : x + w] = True
    edges[y : y + h, x] = edges[y : y + h, x + w - 1] = True


def test_separate_things_are_separate_regions() -> None:
    edges = np.zeros((128, 128), np.bool_)
    boxes = [(10, 10, 30, 20), (70, 60, 40, 50), (12, 90, 20, 20)]
    for box in boxes:
        outline(edges, *box)
    found = edge_regions(edges)
    assert {region[:4] for region in found} >= set(boxes)
    assert found[0] == Region(70, 60, 40, 50, 2 * 40 + 2 * 48)


def test_a_broken_outline_is_one_region() -> None:
    edges = np.zeros((128, 128), np.bool_)
    outline(edges, 30, 40, 60, 50)
    edges[::6] = False
    assert (30, 40, 60, 50) in {region[:4] for region in edge_regions(edges)}


@pytest.mark.parametrize(
    ("gap", "joint"),
    [
        (4, (22, 30, 48, 22)),  # bridged on the grid of 64 cells, to 2 pixels
        (8, (20, 28, 56, 24)),  # bridged on the grid of 32 cells alone, to 4 pixels
        (16, None),
    ],
)
def test_parts_are_joined_over_gaps_by_the_scales(
    gap: int, joint: tuple[int, int, int, int] | None
) -> None:
    edges = np.zeros((128, 128), np.bool_)
    edges[30:52, 22:44] = edges[30:52, 44 + gap : 66 + gap] = True
    boxes = {region[:4] for region in edge_regions(edges)}
    assert {(22, 30, 22, 22), (44 + gap, 30, 22, 22)} <= boxes
    assert {box for box in boxes if box[2] > 44} == ({joint} if joint else set())


@pytest.mark.parametrize(("height", "width"), [(64, 128), (128, 64), (48, 200)])
def test_maps_that_are_no_squares(height: int, width: int) -> None:
    edges = np.zeros((height, width), np.bool_)
    box = (width // 8, height // 4, width // 3, height // 2)
    outline(edges, *box)
    found = edge_regions(edges)
    assert any(np.abs(np.subtract(region[:4], box)).max() <= 4 for region in found)
    for region in found:
        assert 0 <= region.x < region.x + region.w <= width
        assert 0 <= region.y < region.y + region.h <= height
        inside = edges[region.y : region.y + region.h, region.x : region.x + region.w]
        assert region.score == inside.sum()


def test_a_line_of_one_pixel_is_seen_on_every_grid() -> None:
    """An edge counts in a cell of a coarse grid however little of it it covers."""
    edges = np.zeros((512, 512), np.bool_)
    outline(edges, 100, 100, 200, 150)
    edges[100, ::3] = edges[249, ::3] = False
    boxes = {region[:4] for region in edge_regions(edges)}
    assert any(
        abs(x - 100) <= 16 and abs(y - 100) <= 16 and abs(w - 200) <= 32 and abs(h - 150) <= 32
        for x, y, w, h in boxes
    )


def test_at_most_eight_regions_by_default() -> None:
    edges = np.zeros((128, 128), np.bool_)
    for x in range(4, 120, 30):
        for y in range(4, 120, 30):
            outline(edges, x, y, 16, 16)
    assert len(edge_regions(edges)) == 8
    assert len(edge_regions(edges, 20)) >= 16


@pytest.mark.parametrize(
    "edges",
    [
        np.zeros((4, 4)),
        np.zeros((4, 4, 1), np.bool_),
        np.zeros((0, 4), np.bool_),
        np.zeros(4, np.bool_),
    ],
)
def test_maps_that_are_refused(edges: NDArray[np.bool_]) -> None:
    with pytest.raises(ValueError, match=r"edges must be bool \[height, width\], not"):
        edge_regions(edges)


def test_specks_and_frames_are_no_regions() -> None:
    edges = np.zeros((128, 128), np.bool_)
    outline(edges, 0, 0, 128, 128)
    outline(edges, 60, 60, 4, 4)
    assert edge_regions(edges) == []
    assert edge_regions(np.zeros((64, 64), np.bool_)) == []


def naive_iou(a: Region, b: Region, size: int) -> float:
    masks = np.zeros((2, size, size), np.bool_)
    for mask, box in zip(masks, (a, b), strict=True):
        mask[box.y : box.y + box.h, box.x : box.x + box.w] = True
    return float(masks.all(axis=0).sum() / masks.any(axis=0).sum())


@given(
    seed=st.integers(0, 99),
    density=st.sampled_from([0.01, 0.05, 0.2, 0.5]),
    size=st.sampled_from([32, 96, 128]),
    most=st.integers(0, 12),
)
@settings(deadline=None, max_examples=40)
def test_regions_keep_their_promises(seed: int, density: float, size: int, most: int) -> None:
    edges = np.random.default_rng(seed).random((size, size)) < density
    found = edge_regions(edges, most)
    assert len(found) <= most
    assert [r.score for r in found] == sorted((r.score for r in found), reverse=True)
    for i, region in enumerate(found):
        x, y, w, h, score = region
        assert 0 <= x <= x + w <= size
        assert 0 <= y <= y + h <= size
        assert score == edges[y : y + h, x : x + w].sum()
        assert min(w, h) >= MIN_SIDE * size
        assert w * h <= MAX_AREA * size * size
        for other in found[:i]:
            assert overlap(region, other) == pytest.approx(naive_iou(region, other, size))
            assert overlap(region, other) <= MAX_OVERLAP


def test_boxes_of_the_dataset_come_before_components() -> None:
    edges = np.zeros((100, 100), np.bool_)
    outline(edges, 10, 20, 30, 20)
    outline(edges, 60, 60, 20, 30)
    boxes = [(0.1, 0.2, 0.3, 0.2), (0.101, 0.2, 0.299, 0.2), (0.9, 0.95, 0.5, 0.5), (0, 0, 0, 0)]
    found = edge_regions(edges, boxes=boxes)
    assert found[0] == Region(10, 20, 30, 20, 2 * 30 + 2 * 18)
    assert {region[:4] for region in found} == {
        (10, 20, 30, 20),
        (90, 95, 10, 5),  # clipped
        (0, 0, 1, 1),
    }


def test_refusals() -> None:
    with pytest.raises(ValueError, match="edges must be bool"):
        edge_regions(np.zeros((4, 4), np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_regions must not be negative, but is -1"):
        edge_regions(np.zeros((4, 4), np.bool_), -1)
