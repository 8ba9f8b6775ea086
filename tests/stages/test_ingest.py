"""A refused ingestion keeps the list of what it left out, and the pairs that were there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA
from structxlip.stages.ingest import ingest

ROWS = [f"{i}.png,picture {i},{split}" for i, split in enumerate(("train", "val", "test", "train"))]
REFUSED = DATA / "few/pairs.refused/quarantine.parquet"


@pytest.fixture
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params) -> Params:
    """Parameters with a table of four pairs, in the folder where the stage runs."""
    monkeypatch.chdir(tmp_path)
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{i}.png")
    Path("pairs.csv").write_text("\n".join(["image,text,split", *ROWS]))
    entry = {"kind": "table", "path": ".", "table": "pairs.csv", "captions": ["text"]}
    entry |= {"split": "split"}
    return Params.model_validate(params.model_dump(by_alias=True) | {"datasets": {"few": entry}})


def refused(params: Params, message: str) -> list[tuple[str, str]]:
    """The list that is kept when the ingestion is refused with this message."""
    with pytest.raises(UserError, match=f"(?s){message}.*{REFUSED} lists them"):
        ingest(params, "few")
    return [(row["id"], row["reason"]) for row in pq.read_table(REFUSED).to_pylist()]


def test_too_many_bad_pairs(few: Params) -> None:
    ingest(few, "few")
    before = {path.name: path.read_bytes() for path in (DATA / "few/pairs").iterdir()}
    Path("0.png").write_bytes(b"no picture")
    Path("3.png").unlink()
    assert refused(few, "2 of 4 pairs") == [("0.png", "corrupt_image"), ("3.png", "missing_image")]
    assert {path.name: path.read_bytes() for path in (DATA / "few/pairs").iterdir()} == before
    assert sorted(path.name for path in (DATA / "few").iterdir()) == ["pairs", "pairs.refused"]

    Image.new("RGB", (9, 9)).save("0.png")
    Image.new("RGB", (9, 9), "red").save("3.png")
    ingest(few, "few")
    assert not REFUSED.parent.exists()


def test_another_seed_moves_no_pair(few: Params) -> None:
    Path("pairs.csv").write_text(
        "\n".join(["image,text,split", *(r[: r.rindex(",") + 1] for r in ROWS)])
    )
    found = []
    for seed in (0, 1):
        ingest(few.model_copy(update={"seed": seed}), "few")
        rows = pq.read_table(DATA / "few/pairs/part-00000.parquet")
        found.append(rows.select(["id", "split"]).to_pylist())
    assert found[0] == found[1]
    assert {row["split"] for row in found[0]} == {"train", "val", "test"}


def test_nothing_left_of_a_split(few: Params) -> None:
    Path("1.png").write_bytes(b"")
    allowed = few.model_copy(
        update={"ingest": few.ingest.model_copy(update={"max_bad_fraction": 1})}
    )
    assert refused(allowed, "no pair is left for val") == [("1.png", "empty_image")]
    assert not (DATA / "few/pairs").exists()
