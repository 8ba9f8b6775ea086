"""Tables, imagefolder, WebDataset and Hugging Face's datasets as sources."""

from __future__ import annotations

import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from tests.trees import opened, tar, told, write

TABLE = [
    {"file": "a.jpg", "name": "Coat", "text": "long", "part": "train", "sku": "1"},
    {"file": "a.jpg", "name": "Coat", "text": "warm", "part": "train", "sku": "1"},
    {"file": "b.jpg", "name": "Hat", "text": "", "part": "validation", "sku": "1"},
]


def as_csv(delimiter: str) -> str:
    return "\n".join(delimiter.join(row) for row in (TABLE[0], *(r.values() for r in TABLE)))


def as_parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(TABLE), out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", lambda: as_csv(",")),
        ("t.tsv", lambda: as_csv("\t")),
        ("t.csv.gz", lambda: gzip.compress(as_csv(";").encode("utf-16"))),
        ("t.txt", lambda: as_csv("|")),
        ("t.jsonl", lambda: "\n".join(map(json.dumps, TABLE))),
        ("t.jsonl.xz", lambda: lzma.compress("\n".join(map(json.dumps, TABLE)).encode())),
        ("t.parquet", as_parquet),
    ],
)
def test_table(tmp_path: Path, name: str, content: Callable[[], Any]) -> None:
    write(tmp_path, {name: content(), "i/a.jpg": b"a", "i/b.jpg": b"b"})
    settings = {"table": name, "images": "i", "image": "file", "split": "part", "group": "sku"}
    source = opened("table", tmp_path, captions=["{name}: {text}."], **settings)
    assert told(source) == [
        ("a.jpg", "train", "1", ["Coat: long.", "Coat: warm."], b"a"),
        ("b.jpg", "val", "1", ["Hat: ."], b"b"),
    ]
    assert source.splits == {"train", "val"}
    with pytest.raises(UserError, match=r"needs colour, found: file, name, text, part, sku"):
        opened("table", tmp_path, captions=["colour"], **settings)


@pytest.mark.parametrize("inside", [False, True])
def test_rows_of_an_id_may_lie_apart(tmp_path: Path, inside: bool) -> None:
    rows: list[dict[str, Any]] = [
        {"id": name, "text": text, "image": name.encode() if inside else name}
        for name, text in (("a", "1"), ("b", "2"), ("b", "3"), ("a", "4"), ("c", "5"), ("a", "6"))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    write(tmp_path, {name: b"file" for name in "abc"})
    source = opened("table", tmp_path, table="t.parquet", id="id", captions=["text"])
    assert source.size == 3
    found = {pair.id: (list(pair.captions), pair.read_image()) for pair in source.pairs}
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == (["1", "4", "6"], b"a" if inside else b"file")
    assert [found["b"][0], found["c"][0]] == [["2", "3"], ["5"]]
    if inside:
        with pytest.raises(UserError, match="holds the images themselves, so it needs an id"):
            opened("table", tmp_path, table="t.parquet", captions=["text"])


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())],
)
def test_names_are_strings_of_any_kind(tmp_path: Path, kind: pa.DataType) -> None:
    """Pandas writes names as `large_string`, and as a dictionary for a categorical."""
    names = pa.array(["a.jpg", "b.jpg"]).cast(kind)
    pq.write_table(pa.table({"image": names, "text": ["one", "two"]}), tmp_path / "t.parquet")
    write(tmp_path, {"a.jpg": b"a", "b.jpg": b"b"})
    source = opened("table", tmp_path, table="t.parquet", captions=["text"])
    assert [pair.read_image() for pair in source.pairs] == [b"a", b"b"]


def test_a_parquet_table_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "folder.parquet").mkdir()
    (tmp_path / "text.parquet").write_text("not a table")
    for name in ("folder.parquet", "text.parquet"):
        with pytest.raises(UserError, match=rf"{name} cannot be read \("):
            opened("table", tmp_path, table=name, captions=["text"])


def test_a_table_with_html_images_inside_and_wrong_splits(tmp_path: Path) -> None:
    rows = [{"image": b"raw", "text": "<p>A hat &lt; a coat</p>", "split": "train"}]
    rows += [{"image": b"more", "text": "{braces}", "split": ""}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    settings: dict[str, Any] = {"table": "t.parquet", "captions": ["text"], "id": "text"}
    first, second = opened("table", tmp_path, html=True, **settings).pairs
    assert (first.captions, first.read_image()) == (["A hat < a coat"], b"raw")
    assert second.captions == ["{braces}"]
    rows[1]["split"] = "holdout"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    with pytest.raises(UserError, match="the split 'holdout' must be one of train, val, test"):
        opened("table", tmp_path, split="split", **settings)
    (tmp_path / "t.xlsx").write_bytes(b"")
    with pytest.raises(UserError, match=r"t\.xlsx must be \.csv, \.tsv, \.jsonl or \.parquet"):
        opened("table", tmp_path, **settings | {"table": "t.xlsx"})


def test_imagefolder(tmp_path: Path) -> None:
    write(tmp_path, {"train/metadata.jsonl": json.dumps({"file_name": "a.jpg", "text": "A"})})
    write(tmp_path, {"test/metadata.csv": "file_name,text\nsub/b.jpg,B\n"})
    write(tmp_path, {"train/a.jpg": b"a", "test/sub/b.jpg": b"b"})
    assert [row[:2] + row[3:] for row in told(opened("imagefolder", tmp_path))] == [
        ("test/sub/b.jpg", "test", ["B"], b"b"),
        ("train/a.jpg", "train", ["A"], b"a"),
    ]
    with pytest.raises(UserError, match="needs caption, found: file_name, text"):
        opened("imagefolder", tmp_path, caption="caption")


def test_imagefolder_with_one_list_for_all(tmp_path: Path) -> None:
    rows = [
        {"file_name": "train/a.jpg", "text": ["A", "An a"]},
        {"file_name": "b.jpg", "text": "B"},
    ]
    write(tmp_path, {"metadata.jsonl": "\n".join(map(json.dumps, rows))})
    write(tmp_path, {"train/a.jpg": b"a", "b.jpg": b"b"})
    source = opened("imagefolder", tmp_path)
    assert [row[1:4:2] for row in told(source)] == [("train", ["A", "An a"])]
    assert source.unlisted == 1


def test_webdataset(tmp_path: Path) -> None:
    first = {"0001.jpg": b"one", "0001.txt": b"A one", "0002.txt": b"No image"}
    second = {"x/1.png": b"three", "x/1.txt": b"A three", "../out.jpg": b"o", "../out.txt": b"O"}
    write(tmp_path, {"train-000.tar": tar(first), "validation-000.tar": tar(second)})
    source = opened("webdataset", tmp_path)
    pairs = list(source.pairs)
    assert source.splits == {"train", "val"}
    assert [(p.id, p.split, p.captions) for p in pairs] == [
        ("train-000/0001", "train", ["A one"]),
        ("train-000/0002", "train", ["No image"]),
        ("validation-000/x/1", "val", ["A three"]),
        ("validation-000/../out", "val", ["O"]),
    ]
    assert pairs[0].read_image() == b"one"
    assert pairs[2].read_image() == b"three"
    with pytest.raises(BadImage, match="missing_image"):
        pairs[1].read_image()
    with pytest.raises(BadImage, match="outside_folder"):
        pairs[3].read_image()


def test_webdataset_with_json(tmp_path: Path) -> None:
    files = {"a.jpg": b"a", "a.json": b'{"caption": ["A", "An a"]}', "b.jpg": b"b"}
    write(tmp_path, {"shard.tar": tar(files)})
    rows = [p.captions for p in opened("webdataset", tmp_path, caption="json.caption").pairs]
    assert rows == [["A", "An a"], []]
    with pytest.raises(UserError, match=r"a\.json needs text, found: caption"):
        opened("webdataset", tmp_path, caption="json.text")
    (tmp_path / "shard.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"shard\.tar is no tar file"):
        opened("webdataset", tmp_path)


def rows_of(*names: str) -> pa.Table:
    image = {"bytes": b"raw", "path": None}
    return pa.Table.from_pylist([{"image": image, "text": name} for name in names])


def test_hf_dataset_as_save_to_disk_writes_it(tmp_path: Path) -> None:
    write(tmp_path, {"dataset_dict.json": {"splits": ["train", "validation"]}})
    for split, table in (("train", rows_of("a", "b")), ("validation", rows_of("c"))):
        state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
        write(tmp_path, {f"{split}/state.json": state, f"{split}/dataset_info.json": {}})
        with pa.ipc.new_stream(tmp_path / split / "data-00000-of-00001.arrow", table.schema) as out:
            out.write_table(table)
    rows = told(opened("hf_dataset", tmp_path))
    assert [(row[1], row[3], row[4]) for row in rows] == [
        ("train", ["a"], b"raw"),
        ("train", ["b"], b"raw"),
        ("val", ["c"], b"raw"),
    ]
    assert len({row[0] for row in rows}) == 3
    with pytest.raises(UserError, match="needs caption, found: image, text"):
        opened("hf_dataset", tmp_path, caption="caption")


def test_hf_dataset_as_a_repository_of_parquet(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(rows_of("a"), tmp_path / "data/train-00000-of-00001.parquet")
    pq.write_table(rows_of("b"), tmp_path / "data/test-00000-of-00001.parquet")
    source = opened("hf_dataset", tmp_path)
    assert {(row[1], *row[3]) for row in told(source)} == {("train", "a"), ("test", "b")}
    with pytest.raises(UserError, match="is no dataset on disk"):
        opened("hf_dataset", tmp_path / "data" / "none")
