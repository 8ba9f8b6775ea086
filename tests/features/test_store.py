"""The feature store: what is written is read, in the order of the pairs."""

from __future__ import annotations

import mmap
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.captions import names_side
from structxlip.errors import UserError
from structxlip.features.edge_maps import Column, EdgeMaps
from structxlip.features.store import FeatureStore
from structxlip.features.writer import FeatureWriter
from tests.store import PAIRS, SIDED, TEXT_DIM, Artifacts


def test_captions_of_some_pairs_are_theirs(artifacts: Artifacts) -> None:
    store = artifacts.store
    rows = np.array([3, 39, 0])
    captions, owner = store.captions_of(rows)
    naive = [
        (caption, position)
        for position, row in enumerate(rows)
        for caption in range(store.caption_offsets[row], store.caption_offsets[row + 1])
    ]
    assert list(zip(captions.tolist(), owner.tolist(), strict=True)) == naive
    assert store.caption[captions].shape == (len(naive), TEXT_DIM)


def test_pairs_that_share_a_caption_share_a_group(artifacts: Artifacts) -> None:
    groups = artifacts.store.group_ids
    assert groups[0] == groups[-1]
    assert len(set(groups.tolist())) == PAIRS - 1


def test_splits_are_the_rows_of_their_name(artifacts: Artifacts) -> None:
    assert artifacts.store.rows("val").tolist() == [28, 29, 30, 31]


@pytest.mark.parametrize(
    "text",
    [
        "A dog on the LEFT.",
        "the right-hand door",
        "a righthanded pitcher",
        "the leftmost of three cups",
        "Rightmost: a cat",
        "moving rightward",
        "they look leftwards",
        "left_lung, frontal view",
        "turn it clockwise",
        "an anti-clockwise spiral",
        "a counterclockwise spiral, an anticlockwise one",
        "the east wing",
        "a tower north-west of the river",
        "southeastern coast",
        "sailing westward",
    ],
)
def test_a_caption_names_a_side(text: str) -> None:
    assert names_side(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a bright copyright sign stands upright",
        "leftovers on a plate",
        "a righteous man",
        "the clock is wise",
        "at least an Easter feast with yeast",
        "sweatshirt and vest",
        "a dog under a north star",
    ],
)
def test_a_caption_names_no_side(text: str) -> None:
    assert not names_side(text)


def test_names_side_marks_the_captions_that_name_a_side(artifacts: Artifacts) -> None:
    names_side = artifacts.store.names_side
    assert names_side.dtype == np.bool_
    assert names_side.shape == (len(artifacts.store.caption),)
    assert np.flatnonzero(names_side).tolist() == [SIDED]


@pytest.mark.parametrize("name", ["names_side.npy", "sizes.json", "image.npy", "index.json"])
def test_a_store_of_an_older_version_is_no_store(
    artifacts: Artifacts, tmp_path: Path, name: str
) -> None:
    older = tmp_path / "features"
    shutil.copytree(artifacts.features, older)
    FeatureStore(older)
    (older / name).unlink()
    with pytest.raises(UserError, match="holds no features; run the stage `features`"):
        FeatureStore(older)


def new_writer(folder: Path, artifacts: Artifacts) -> FeatureWriter:
    """A writer of one pair with one caption and one chunk."""
    return FeatureWriter(
        folder,
        artifacts.store.spec,
        ids=["one"],
        splits=["train"],
        caption_counts=[1],
        chunk_counts=[1],
        caption_texts=["a"],
        names_side=[False],
    )


def test_a_store_that_is_not_full_is_refused(artifacts: Artifacts, tmp_path: Path) -> None:
    writer = new_writer(tmp_path, artifacts)
    writer.append(image=np.zeros((2, 6), np.float32))
    with pytest.raises(ValueError, match="image has 2 of 40 rows"):
        writer.close()


def test_a_new_store_takes_its_place_on_the_disk_at_once(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    """Into a hole of a file, the first write to a full disk would end the process."""
    new_writer(tmp_path, artifacts)
    for path in tmp_path.glob("*.npy"):
        status = path.stat()
        assert status.st_blocks * 512 >= status.st_size, path


def test_a_map_without_structure_is_empty(artifacts: Artifacts) -> None:
    maps = artifacts.maps
    found = maps.maps(np.arange(10))
    assert found.shape == (10, 1, 32, 32)
    assert found.any(axis=(1, 2, 3)).tolist() == maps.has_structure[:10].tolist()


def test_more_than_2_gib_of_maps_are_read_one_by_one() -> None:
    """Chunks of 0.8 GiB share one buffer, a file with holes: nothing is held in memory."""
    size = 800 * 2**20
    with tempfile.TemporaryFile() as file:
        file.truncate(size)
        zeros = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    offsets = np.array([0, 3, size], np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(zeros)]
    big = pa.Array.from_buffers(pa.binary(), 2, buffers)
    empty, small = pa.array([], pa.binary()), pa.array([b"last"])
    column = pa.chunked_array([big, empty, big, big, small])
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        column.combine_chunks()
    found = Column(column)
    assert [found[row] for row in (0, 2, 4, 6)] == [bytes(3)] * 3 + [b"last"]


@given(st.lists(st.lists(st.binary(max_size=3), max_size=4), min_size=1))
def test_a_column_is_the_list_of_its_values(chunks: list[list[bytes]]) -> None:
    column = pa.chunked_array([pa.array(chunk, pa.binary()) for chunk in chunks])
    found = Column(column)
    assert [found[row] for row in range(len(column))] == column.to_pylist()


def test_edge_maps_are_read_without_pandas(artifacts: Artifacts) -> None:
    code = f"""
import sys
from pathlib import Path
from structxlip.features.edge_maps import EdgeMaps
from structxlip.features.store import FeatureStore
EdgeMaps(Path({str(artifacts.edges)!r}), FeatureStore(Path({str(artifacts.features)!r})).ids)
sys.exit("pandas" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_is_not_there_or_does_not_fit_is_one_sentence(
    artifacts: Artifacts, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="holds no features; run the stage `features`"):
        FeatureStore(tmp_path)
    with pytest.raises(UserError, match="does not fit the features; run `dvc repro`"):
        EdgeMaps(artifacts.edges, artifacts.store.ids[::-1])
