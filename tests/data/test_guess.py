"""The guess at an entry: right for every layout, and it reads the pairs that the layout has."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from structxlip.cli import app
from structxlip.config import load_params
from structxlip.data.guess import guess_entry, preview
from structxlip.data.sources import open_source
from structxlip.errors import UserError
from tests.operation import ROOT
from tests.trees import opened, write

sys.path.insert(0, str(ROOT / "benchmarks"))
from fuzz_trees import KINDS, write_tree

KNOWN = ("karpathy", "docci", "dci", "deepfashion_multimodal", "medpix")
KNOWN += ("fashion_products", "flickr", "mimic_cxr", "imagefolder", "webdataset", "table")


def png(number: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 16), (number, 9, 9)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("kind", KNOWN)
def test_every_layout_is_known_by_its_files(kind: str, tmp_path: Path) -> None:
    tree = KINDS[kind](12)
    write_tree(tree, tmp_path)
    entry = guess_entry(tmp_path)
    assert entry["kind"] == kind
    right = opened(kind, tmp_path, **{k: v for k, v in tree.settings.items() if k != "kind"})
    lines = preview(entry)
    assert lines[0].startswith(f"{right.size:,} pairs; ")
    assert len(lines) == 1 + len(right.warnings) + min(right.size, 10)


CSV = "sku;picture;about;part;product\n" + "".join(
    f'{i};p{i}.png;"A <b>hat</b>; number {i} of them";{"test" if i > 3 else "train"};P{i // 2}\n'
    for i in range(6)
)


@pytest.mark.parametrize("of_a_file", [True, False])
def test_the_columns_of_a_table_are_found(tmp_path: Path, of_a_file: bool) -> None:
    write(tmp_path, {"products.csv": CSV} | {f"shots/p{i}.png": png(i) for i in range(6)})
    entry = guess_entry(tmp_path / "products.csv" if of_a_file else tmp_path)
    assert entry == {
        "kind": "table",
        "path": str(tmp_path),
        "table": "products.csv",
        "image": "picture",
        "split": "part",
        "group": "product",
        "id": "sku",
        "captions": ["about"],
        "images": "shots",
        "html": True,
    }
    lines = preview(entry)
    assert lines[0] == "6 pairs; its own splits: train, test; cut by a hash: val"
    assert lines[1] == "0 [train, 20 x 16] A hat; number 0 of them"


def test_a_parquet_file_may_hold_the_images(tmp_path: Path) -> None:
    table = pa.table(
        {
            "uid": ["a", "b"],
            "image": [{"bytes": png(i), "path": None} for i in range(2)],
            "text": ["A dog runs on grass", "Two cats"],
        }
    )
    pq.write_table(table, tmp_path / "all.parquet")
    entry = guess_entry(tmp_path / "all.parquet")
    chosen = {key: entry[key] for key in ("kind", "image", "id", "captions")}
    assert chosen == {"kind": "table", "image": "image", "id": "uid", "captions": ["text"]}
    assert preview(entry)[1] == "a [no split, 20 x 16] A dog runs on grass"


def test_coco_is_known_by_its_captions_and_images(tmp_path: Path) -> None:
    caption = {"image_id": 1, "id": 5, "caption": "A dog"}
    listed = {"images": [{"id": 1, "file_name": "1.png"}], "annotations": [caption]}
    for split in ("train2017", "val2017"):
        write(tmp_path, {f"annotations/captions_{split}.json": listed, f"{split}/1.png": png()})
    entry = guess_entry(tmp_path)
    assert entry["kind"] == "coco"
    assert entry["splits"] == {
        split: {"captions": f"annotations/captions_{split}2017.json", "images": f"{split}2017"}
        for split in ("train", "val")
    }


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"notes.doc": b"x"}, "no kind of dataset fits .*, which holds: notes.doc"),
        ({"t.csv": "name,price\nHat,3\n"}, "no kind of dataset fits"),
        ({"a.png": png(), "t.csv": "file,price\na.png,3\n"}, "no column holds captions"),
    ],
)
def test_what_is_not_understood_is_said(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    write(tmp_path, files)
    with pytest.raises(UserError, match=said):
        guess_entry(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        guess_entry(tmp_path / "nowhere")


def test_headings_in_quotes_and_other_encodings_are_read(tmp_path: Path) -> None:
    table = 'image,"my, caption"\na.png,A caf\xe9 on a corner\n'
    write(tmp_path, {"t.csv": table.encode("latin-1"), "a.png": png()})
    entry = guess_entry(tmp_path / "t.csv")
    assert entry["captions"] == ["my, caption"]
    said = CliRunner().invoke(app, ["add", "mine", str(tmp_path / "t.csv")])
    assert isinstance(said.exception, UserError), said.exception  # it asks for --yes
    assert "on a corner" in said.output


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "image,caption\n", "t.csv has no row that can be read"),
        ("t.jsonl", '{"image": {"path": "a.png"}, "caption": "A dog"}\n', "no column of"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(
    tmp_path: Path, name: str, content: str, said: str
) -> None:
    write(tmp_path, {name: content})
    with pytest.raises(UserError, match=said):
        guess_entry(tmp_path / name)


def test_bad_pairs_are_shown_with_their_reason(tmp_path: Path) -> None:
    table = "image,caption\na.png,A dog\nb.png,\nc.png,A cat\n"
    write(tmp_path, {"t.csv": table, "a.png": png(), "b.png": b"no picture"})
    lines = preview(guess_entry(tmp_path))
    assert lines[1] == "a.png [no split, 20 x 16] A dog"
    assert lines[2] == "b.png [no split, corrupt_image: no known image format] (empty_caption)"
    assert lines[3].startswith("c.png [no split, cannot be read: ")


def test_the_entry_is_written_and_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    write(tmp_path, {"own/t.csv": "image,caption\na.png,A dog\n", "own/a.png": png()})
    before = Path("params.yaml").read_text()
    refused = CliRunner().invoke(app, ["add", "mine", "own"])
    assert isinstance(refused.exception, UserError)
    assert "give --yes" in str(refused.exception)
    assert Path("params.yaml").read_text() == before
    done = CliRunner().invoke(app, ["add", "mine", "own", "--yes"])
    assert done.exit_code == 0, done.output
    assert "a.png [no split, 20 x 16] A dog" in done.output
    entry = load_params().dataset("mine")
    assert open_source(entry).size == 1
    shown = yaml.safe_load(done.output.partition("\n\n")[0])
    assert shown["mine"]["captions"] == ["caption"]
    again = CliRunner().invoke(app, ["add", "mine", "own", "--yes"])
    assert "already; take another name" in str(again.exception)
