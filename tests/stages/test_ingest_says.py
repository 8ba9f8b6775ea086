"""What an ingestion says of splits that the source does not give, or gives in part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from structxlip.config import Params
from structxlip.incremental.artifacts import DATA
from structxlip.stages.ingest import ingest

PAIRS = 24


@pytest.fixture
def said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    params: Params,
    capfd: pytest.CaptureFixture[str],
) -> Any:
    """What the ingestion of a table with the columns says; ``rows`` tells the columns of a pair."""

    def ingested(rows: Any, boilerplate: str = "keep", **settings: Any) -> str:
        monkeypatch.chdir(tmp_path)
        lines = []
        for i in range(PAIRS):
            noise = np.random.default_rng(i).integers(0, 255, (20, 30, 3), np.uint8)
            cv2.imwrite(f"{i}.png", noise)
            lines.append(json.dumps({"image": f"{i}.png", "text": f"picture {i}", **rows(i)}))
        Path("t.jsonl").write_text("\n".join(lines))
        entry = {"kind": "table", "path": ".", "table": "t.jsonl", "captions": ["text"]}
        changes = {"datasets": {"t": entry | settings}}
        content = params.model_dump(by_alias=True) | changes
        content["ingest"] = content["ingest"] | {"val_fraction": 0.3, "test_fraction": 0.3}
        content["recipes"][params.recipe]["captions"]["boilerplate"] = boilerplate
        ingest(Params.model_validate(content), "t")
        printed = capfd.readouterr()
        return printed.out + printed.err

    return ingested


def test_splits_that_are_cut_are_said(said: Any) -> None:
    assert "the source gives no splits, so train, val, test are cut by a hash" in said(lambda i: {})
    two = said(lambda i: {"part": ("train", "test")[i % 2]}, split="part")
    assert "the source gives train and test alone, so val is cut from train by a hash" in two
    three = said(lambda i: {"part": ("train", "val", "test")[i % 3]}, split="part")
    assert "cut" not in three


def test_groups_in_several_splits_are_said(said: Any) -> None:
    def rows(i: int) -> dict[str, str]:
        return {"part": ("train", "val", "test")[i % 3], "patient": f"p{max(i, 2)}"}

    assert (
        "1 groups are in several splits, as the source gives them (first: p2, in train and val and "
        "test), so recall on held-out pairs may be too high"
        in said(rows, split="part", group="patient")
    )
    assert json.loads((DATA / "t/pairs/report.json").read_text())["straddling_groups"] == 1
    assert "several splits" not in said(
        lambda i: rows(i) | {"patient": ""}, split="part", group="patient"
    )


def stored() -> list[str]:
    rows = pq.read_table(DATA / "t/pairs/part-00000.parquet")["captions"].to_pylist()
    return [text for texts in rows for text in texts]


def test_boilerplate_is_left_out_of_the_pairs_where_it_is_asked_for(said: Any) -> None:
    wash = "Wash it with care."

    def rows(i: int) -> dict[str, str]:
        return {"text": f"picture {i}. {wash}" if i % 3 == 0 else f"picture {i}. It is blue."}

    assert "boilerplate" not in said(rows)
    assert sum(wash in text for text in stored()) == PAIRS // 3
    shown = said(rows, boilerplate="drop")
    assert f"ingest t: boilerplate, in 33 % of the pairs: '{wash}'\n" in shown
    assert f"ingest t: boilerplate is left out of {PAIRS} captions" in shown
    assert sorted(stored()) == sorted(f"picture {i}." for i in range(PAIRS))
    report = json.loads((DATA / "t/pairs/report.json").read_text())
    assert report["captions_without_boilerplate"] == PAIRS


def test_html_that_was_not_told_is_said_with_the_line_to_add(said: Any) -> None:
    def rows(i: int) -> dict[str, str]:
        return {"text": f"<p>picture {i}</p>" if i < 5 else f"picture {i}, 3 < 4"}

    assert (
        f"5 of {PAIRS} captions hold HTML; add `html: true` to datasets.t, and it becomes text"
        in said(rows)
    )
    assert "HTML" not in said(rows, html=True)
    assert not [text for text in stored() if "<p>" in text]
