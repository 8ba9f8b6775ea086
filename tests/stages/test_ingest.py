"""A refused ingestion keeps the list of what it left out, and the pairs that were there."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from structxlip.config import Params
from structxlip.data import ingestion
from structxlip.data.ingestion import check_sample
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import RefusedData
from structxlip.data.sources import open_source
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


def test_workers_that_cannot_share_the_batch_are_told_with_the_pairs(few: Params) -> None:
    three = few.model_copy(update={"machine": few.machine.model_copy(update={"workers": 4})})
    with pytest.raises(UserError, match="4 workers cannot share the batch of 2 pairs that"):
        ingest(three, "few")


def test_a_sample_is_looked_at_before_the_rest(
    few: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 4,000 pairs whose images are empty 200 are tried; a few bad ones end nothing."""
    rows = [f"{i},{i % 2}.png,picture {i},{('train', 'val')[i % 2]}" for i in range(4000)]
    Path("pairs.csv").write_text("\n".join(["id,image,text,split", *rows]))
    entry = few.dataset("few").model_copy(update={"id": "id"})
    many = few.model_copy(update={"datasets": {"few": entry}})
    source = open_source(many.dataset("few"))
    check_sample(source.pairs, source.size, 0.05)

    tried = []
    monkeypatch.setattr(ingestion, "_read", lambda read, what: tried.append(what) or read())
    for name in ("0.png", "1.png"):
        Path(name).write_bytes(b"")
    with pytest.raises(
        UserError, match=r"sample spread over the 4,000 pairs, 200 of 200 pairs .*\(empty_image 200"
    ):
        ingest(many, "few")
    assert len(tried) == 200


@pytest.mark.parametrize(("bad", "refused"), [(0.02, False), (0.06, False), (0.3, True)])
def test_a_sample_refuses_what_is_surely_too_bad(few: Params, bad: float, refused: bool) -> None:
    image = Path("0.png").read_bytes()
    rng = np.random.default_rng(0)
    broken = rng.random(6000) < bad
    pairs = (
        RawPair(str(i), lambda i=i: b"" if broken[i] else image, ["a dog"], str(i), "test")
        for i in range(6000)
    )
    with pytest.raises(RefusedData) if refused else nullcontext():
        check_sample(pairs, 6000, 0.05)
