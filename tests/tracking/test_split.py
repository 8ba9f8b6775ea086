"""The gate scores by the relation that evaluation has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.data.shards import pair_schema
from structxlip.evaluation.statistics import mean_recall
from structxlip.tracking import split
from structxlip.tracking.scoring import Scored

CAPTIONS = [["A red ball"], ["a blue cube", "A cube"], ["a RED ball"], ["no test pair"]]


def read(folder: Path, captions: list[list[str]], edges: bytes | None = None) -> split.TestSplit:
    folder.mkdir()
    rows = [
        {
            "id": f"{i}",
            "split": "test",
            "group": f"g{i}",
            "source": "test",
            "image": b"%d" % i,
            "edges": edges,
            "captions": texts,
            "sha256": f"{i}",
        }
        for i, texts in enumerate(captions)
    ]
    rows[-1]["split"] = "train"
    table = pa.Table.from_pylist(rows, schema=pair_schema())
    pq.write_table(table, folder / "part-00000.parquet")
    return split.read_test_split(folder)


def test_equal_captions_are_a_group(tmp_path: Path) -> None:
    found = read(tmp_path / "a", CAPTIONS)
    assert found.images == [b"0", b"1", b"2"]
    assert found.texts == ["A red ball", "a blue cube", "A cube", "a RED ball"]
    assert found.text_to_image.tolist() == [0, 1, 1, 2]
    assert found.groups.tolist() == [0, 1, 0]


def test_the_digest_is_of_what_a_score_depends_on(tmp_path: Path) -> None:
    digest = read(tmp_path / "a", CAPTIONS).digest
    assert read(tmp_path / "b", [*CAPTIONS[:3], ["other"]]).digest == digest  # of no test pair
    assert read(tmp_path / "c", [["A red bell"], *CAPTIONS[1:]]).digest != digest
    assert read(tmp_path / "d", CAPTIONS, edges=b"map").digest != digest


def test_a_perfect_model_has_a_perfect_score(tmp_path: Path) -> None:
    """Also among some of the images: the captions of the others are no answers there."""
    found = read(tmp_path / "a", CAPTIONS)
    balls = np.array([True, False, True])
    scored = Scored(np.eye(2)[balls.astype(int)], np.eye(2)[[1, 0, 0, 1]], latency_ms=1.0)
    for chosen in (np.ones(3, bool), balls, ~balls):
        assert mean_recall(scored.ranks(found, chosen).recall((1,))) == pytest.approx(100)
    assert found.owners(balls).tolist() == [0, 1]
    assert found.owners(np.array([False, True, True])).tolist() == [0, 0, 1]


def test_the_gate_has_its_share_of_the_groups_whatever_else_there_is(tmp_path: Path) -> None:
    captions = [[f"picture number {i}"] for i in range(200)]
    whole = read(tmp_path / "a", captions)
    assert whole.gate.all()
    found = split.read_test_split(tmp_path / "a", 0.5)
    assert 70 < found.gate.sum() < 130
    read(tmp_path / "b", captions[:100])
    fewer = split.read_test_split(tmp_path / "b", 0.5)
    assert fewer.gate.tolist() == found.gate[: len(fewer.gate)].tolist()


def test_parts_of_the_images_by_the_length_of_captions(tmp_path: Path) -> None:
    captions = [["a ball"], ["a red ball"], ["a red ball on a mat"], ["no test pair"]]
    slices = read(tmp_path / "a", captions).slices
    assert {name: inside.tolist() for name, inside in slices.items()} == {
        "captions of up to 2.66667 words": [True, False, False],
        "captions of more than 4 words": [False, False, True],
    }


def test_parts_of_the_images_by_the_density_of_their_edges(tmp_path: Path) -> None:
    read(tmp_path / "a", CAPTIONS)
    (tmp_path / "edges").mkdir()
    maps = pa.table({"id": ["2", "0", "3"], "density": [0.3, 0.1, 0.2]})
    pq.write_table(maps, tmp_path / "edges/part-00000.parquet")
    slices = split.read_test_split(tmp_path / "a", edges=tmp_path / "edges").slices
    assert slices["edge maps of up to 6.7 % edges"].tolist() == [False, True, False]
    assert slices["edge maps of more than 16.7 % edges"].tolist() == [False, False, True]


def test_what_was_seen_is_known_by_content(tmp_path: Path) -> None:
    read(tmp_path / "a", CAPTIONS)
    seen = split.read_seen(tmp_path / "a")
    assert seen.images == {"3"}
    assert seen.captions == {split.caption_hash("No test PAIR")}
    seen.write(tmp_path / "seen.json.gz")
    assert split.Seen.read(tmp_path / "seen.json.gz") == seen
    assert len(seen.digest()) == 32
