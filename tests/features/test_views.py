"""Controls of the edge maps: each gives what it says, for the rows that it is asked for."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from structxlip.config import Edges
from structxlip.data.shards import ShardWriter, pair_schema
from structxlip.features.grey_pictures import write_grey_pictures
from structxlip.features.views import GreyPictures, ImageFeatures, OtherEdges
from tests.store import EDGES_PX, PAIRS, Artifacts


def picture(seed: int, width: int = 48, height: int = 40) -> np.ndarray:
    blocks = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST)


def write_pairs(folder: Path, ids: list[str], first: int = 0) -> None:
    """A pair store whose image ``i`` is ``picture(first + i)``."""
    folder.mkdir(parents=True)
    with ShardWriter(folder, pair_schema(), 2**20) as writer:
        for seed, identifier in enumerate(ids, first):
            file = io.BytesIO()
            Image.fromarray(picture(seed)).save(file, "PNG")
            data = file.getvalue()
            row = {
                "id": identifier,
                "image": data,
                "sha256": hashlib.sha256(data).hexdigest(),
                "boxes": [],
            }
            writer.add(row | {"width": 48, "height": 40})


@pytest.mark.parametrize("seed", range(3))
def test_each_image_gets_the_edges_of_another_one_of_its_split(
    artifacts: Artifacts, seed: int
) -> None:
    edges, splits = artifacts.maps, artifacts.store.splits
    view = OtherEdges(edges, splits, seed)
    assert sorted(view.other) == list(range(PAIRS))
    assert (view.other != np.arange(PAIRS)).all()
    assert (splits[view.other] == splits).all()
    rows = np.array([3, 30, 0])
    np.testing.assert_array_equal(view.maps(rows), edges.maps(view.other[rows]))
    assert view.has_structure.tolist() == edges.has_structure[view.other].tolist()
    maps = view.maps(rows)
    for mine, others in zip(
        view.crops(rows, maps, 2, 16), edges.crops(view.other[rows], maps, 2, 16), strict=True
    ):
        np.testing.assert_array_equal(mine, others)


def test_the_exchange_follows_from_the_seed(artifacts: Artifacts) -> None:
    edges, splits = artifacts.maps, artifacts.store.splits
    first, again, other = (OtherEdges(edges, splits, seed).other.tolist() for seed in (0, 0, 1))
    assert first == again != other


def test_grey_pictures_are_the_pictures(artifacts: Artifacts, tmp_path: Path) -> None:
    write_pairs(tmp_path / "pairs", artifacts.store.ids.tolist())
    file, settings = tmp_path / "grey.npy", Edges(size_px=EDGES_PX, blur_sigma=1.0)
    write_grey_pictures(tmp_path / "pairs", file, settings)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["grey.npy"]
    view = GreyPictures(file, artifacts.maps)
    rows = np.array([7, 0, 39])
    found = view.maps(rows)
    assert found.shape == (3, 1, EDGES_PX, EDGES_PX)
    for (grey,), row in zip(found, rows.tolist(), strict=True):
        wanted = cv2.cvtColor(picture(row), cv2.COLOR_RGB2GRAY)
        wanted = cv2.resize(wanted, (EDGES_PX, EDGES_PX), interpolation=cv2.INTER_AREA)
        wanted = cv2.GaussianBlur(wanted, (0, 0), 1.0)
        np.testing.assert_allclose(grey * 255, wanted, atol=1)
    assert view.has_structure.all()
    before = file.stat().st_mtime_ns
    write_grey_pictures(tmp_path / "pairs", file, settings)
    assert file.stat().st_mtime_ns == before


def test_a_second_head_reads_the_features_of_the_image(artifacts: Artifacts) -> None:
    view, rows = ImageFeatures(artifacts.store), np.array([5, 2])
    np.testing.assert_array_equal(view.maps(rows), artifacts.store.image[rows])
    with pytest.raises(ValueError, match="no regions"):
        view.crops(rows, view.maps(rows), 1, 8)
