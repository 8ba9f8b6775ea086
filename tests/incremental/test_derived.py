"""Edges and captions: only what is new is made, what fails is listed, and no run is lost."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from spacy.language import Language
from spacy.tokens import Doc

from structxlip.captions import load_language_model
from structxlip.config import Params
from structxlip.cues import canny
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import shards
from structxlip.errors import UserError
from structxlip.incremental import row_groups
from structxlip.incremental.derived import name_of
from structxlip.incremental.row_groups import RowGroup
from structxlip.stages import captions as captions_stage
from structxlip.stages.captions import captions
from structxlip.stages.edges import edges

SPLITS = {0: "test", 1: "val"}
BRIGHT = 255  # an image of it alone is what a cue under test fails on


def picture(seed: int) -> bytes:
    coarse = np.random.default_rng(abs(seed)).integers(0, 200, (4, 4, 3), np.uint8)
    image = cv2.resize(coarse, (40, 40), interpolation=cv2.INTER_NEAREST)
    return cv2.imencode(".png", np.full_like(image, BRIGHT) if seed < 0 else image)[1].tobytes()


def store(
    pairs: dict[str, tuple[int, tuple[str, ...]]],
    shard_bytes: int = 2**15,  # one row group each
) -> None:
    """Write the pair store of names with the seeds of their pictures and their captions."""
    folder = Path("data/scenes/pairs")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    raw = [
        RawPair(name, lambda s=seed: picture(s), texts, name, "test", SPLITS.get(i, "train"))  # type: ignore[misc]
        for i, (name, (seed, texts)) in enumerate(pairs.items())
    ]
    write_pairs(
        raw,
        folder,
        shard_bytes=shard_bytes,
        max_bad_fraction=0,
        split_for=lambda pair: pair.split or "train",
    )


def pairs(numbers: range) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {f"p{i:03}": (i, (f"a red dog sits on box {i % 7}", f"box {i}")) for i in numbers}


def artifact(stage: str) -> pa.Table:
    return ds.dataset(shards(Path("data/scenes") / stage)).to_table()


def quarantine(stage: str) -> list[tuple[str, str, str]]:
    rows = pq.read_table(f"data/scenes/{stage}/quarantine.parquet").to_pylist()
    return [(row["id"], row["reason"], row["detail"]) for row in rows]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def afresh(stage: str, params: Params, monkeypatch: pytest.MonkeyPatch, folder: Path) -> pa.Table:
    """The artifact of the stage with an empty row cache."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("structxlip.incremental.row_cache.CACHE", folder / "elsewhere")
        {"edges": edges, "captions": captions}[stage](params, "scenes")
    return artifact(stage)


@pytest.mark.parametrize(
    ("stage", "shard_bytes", "groups"), [("edges", 2**15, [1, 1, 1]), ("captions", 2**17, [3])]
)
def test_only_what_is_new_is_made(
    stage: str,
    shard_bytes: int,
    groups: list[int],
    params: Params,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
) -> None:
    run = {"edges": edges, "captions": captions}[stage]
    monkeypatch.setattr(row_groups, "BLOCK", 2)
    store(pairs(range(10, 150)), shard_bytes)
    run(params, "scenes")
    assert "unchanged and reused" not in capsys.readouterr().err
    made = shards(Path("data/scenes") / stage)
    assert [pq.read_metadata(path).num_row_groups for path in made] == groups

    grown = pairs(range(8, 13)) | pairs(range(20, 155))  # new at both ends, some gone
    grown["p100"] = (1000, ("a wholly new caption", "and a second one"))
    grown = dict(reversed(grown.items()))
    store(grown, shard_bytes)
    run(params, "scenes")
    said = capsys.readouterr().err
    # 2 + 5 pairs are new and one has changed; of the captions of the new ones only "box N" is new.
    assert ("132 of 140" if stage == "edges" else "271 of 280") in said
    found = artifact(stage)
    assert found.equals(afresh(stage, params, monkeypatch, folder))

    run(params, "scenes")
    before = [path.stat().st_ino for path in shards(Path("data/scenes") / stage)]
    capsys.readouterr()
    run(params, "scenes")
    assert ("140 of 140" if stage == "edges" else "280 of 280") in capsys.readouterr().err
    assert [path.stat().st_ino for path in shards(Path("data/scenes") / stage)] == before
    assert artifact(stage).equals(found)

    store({f"other {name}": pair for name, pair in grown.items()}, shard_bytes)
    run(params, "scenes")
    assert artifact(stage)["id"].to_pylist()[0].startswith("other ")
    assert artifact(stage).equals(afresh(stage, params, monkeypatch, folder))
    kept = list((folder / ".cache/rows" / stage / "scenes").rglob("*.parquet"))
    assert len(kept) == len(groups)


def test_other_settings_make_everything_anew(
    params: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    store(pairs(range(4)))
    edges(params, "scenes")
    content = params.model_dump(by_alias=True)
    content["recipes"]["frozen"]["edges"]["blur_sigma"] = 2.0
    edges(Params.model_validate(content), "scenes")
    assert "unchanged and reused" not in capsys.readouterr().err


def failing(image: np.ndarray, **how: object) -> np.ndarray:
    if image.min() == BRIGHT:
        raise ValueError("too bright")
    return canny(image, **how)  # type: ignore[arg-type]


def test_a_sample_that_fails_is_listed_and_tried_again(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(pairs(range(30)) | {"white": (-1, ("snow",))})
    with monkeypatch.context() as broken:
        broken.setattr("structxlip.cues.detectors.canny.canny", failing)
        edges(params, "scenes")
    assert quarantine("edges") == [("white", "no_edges", "too bright")]
    row = artifact("edges").to_pylist()[-1]
    assert (row["id"], row["has_structure"], row["density"], row["key"]) == (
        "white",
        False,
        0,
        None,
    )
    capsys.readouterr()
    edges(params, "scenes")
    assert "30 of 31 samples are unchanged and reused" in capsys.readouterr().err
    assert quarantine("edges") == []


def test_too_many_that_fail_are_refused(params: Params, monkeypatch: pytest.MonkeyPatch) -> None:
    store(pairs(range(30)))
    edges(params, "scenes")
    before = artifact("edges")
    white = {f"white{i}": (-1, ("snow",)) for i in range(3)}
    store(pairs(range(30)) | white)
    monkeypatch.setattr("structxlip.cues.detectors.canny.canny", failing)
    with pytest.raises(UserError, match="3 of 33 samples have failed, more than") as refused:
        edges(params, "scenes")
    assert "white0: too bright" in str(refused.value)
    assert [name for name, *_ in quarantine("edges.refused")] == ["white0", "white1", "white2"]
    assert artifact("edges").equals(before)


def test_a_mistake_of_all_samples_is_told_at_once(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(pairs(range(300)))
    calls = 0

    def wrong(image: np.ndarray, *, size_px: int, **how: object) -> np.ndarray:
        nonlocal calls
        if not image.any():  # the black picture on which a cue is tried
            return np.zeros((size_px, size_px), np.bool_)
        calls += 1
        return np.zeros((size_px, size_px), np.uint8)

    monkeypatch.setattr("structxlip.cues.detectors.canny.canny", wrong)
    with pytest.raises(
        UserError, match=r"must return bool \[128, 128\] or .*, not uint8 \[128, 128\]"
    ):
        edges(params, "scenes")
    assert calls == 64


def test_a_unit_is_named_by_its_row_groups() -> None:
    first, last = RowGroup("part-00000.parquet", 3, 64), RowGroup("part-00001.parquet", 0, 64)
    assert name_of([(first, [1])]) == "row group 3 of part-00000.parquet"
    whole = "row group 3 of part-00000.parquet to row group 0 of part-00001.parquet"
    assert name_of([(first, [1]), (last, [0])]) == whole


def test_a_run_that_was_killed_is_gone_on_from(
    params: Params, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store(pairs(range(200)))
    calls = 0

    def killed(image: np.ndarray, **how: object) -> np.ndarray:
        nonlocal calls
        calls += 1
        if calls == 150:
            raise KeyboardInterrupt
        return canny(image, **how)  # type: ignore[arg-type]

    with monkeypatch.context() as broken:
        broken.setattr("structxlip.cues.detectors.canny.canny", killed)
        with pytest.raises(KeyboardInterrupt):
            edges(params, "scenes")
    assert not Path("data/scenes/edges").exists()
    edges(params, "scenes")
    assert "64 of 200 samples are unchanged and reused" in capsys.readouterr().err
    assert artifact("edges").num_rows == 200


@Language.component("refuse")
def refuse(doc: Doc) -> Doc:
    if "xyzzy" in doc.text:
        raise RuntimeError("no such word")
    return doc


def test_a_caption_that_cannot_be_parsed_stays_whole(
    params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_language_model("en_core_web_sm")
    model.add_pipe("refuse", last=True)
    monkeypatch.setattr(captions_stage, "load_language_model", lambda name: model)
    store(pairs(range(30)) | {"odd": (77, ("a red xyzzy on a box", "a red ball"))})
    captions(params, "scenes")
    odd, ball = artifact("captions").to_pylist()[-2:]
    assert (odd["structure"], odd["weights"], odd["chunks"]) == (odd["text"], [1.0] * 6, [])
    assert ball["structure"] == "a ball"
    assert quarantine("captions") == [
        ("odd", "not_parsed", "no such word, in 'a red xyzzy on a box'")
    ]
