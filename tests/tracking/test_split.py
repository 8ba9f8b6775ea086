"""The gate scores by the relation that evaluation has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.data.shards import pair_schema
from structxlip.tracking import split
from structxlip.tracking.promotion import score_model

CAPTIONS = [["A red ball"], ["a blue cube", "A cube"], ["a RED ball"], ["no test pair"]]


def read(folder: Path, captions: list[list[str]], edges: bytes | None = None) -> split.TestSplit:
    folder.mkdir()
    rows = [
        {
            "id": f"{i}",
            "split": "test",
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


class Perfect:
    """A registered model that knows what is a ball."""

    def predict(self, rows: pd.DataFrame) -> pd.DataFrame:
        ball = rows["text"].str.lower() == "a red ball" if "text" in rows else rows["image"] != b"1"
        return pd.DataFrame({"embedding": np.eye(2)[ball.astype(int)].tolist()})


def test_a_perfect_model_has_a_perfect_score(tmp_path: Path) -> None:
    assert score_model(Perfect(), read(tmp_path / "a", CAPTIONS)) == pytest.approx(100)
