"""A field that holds what was not expected is listed, with its name and the name of its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.pairs import Box, RawPair, captions_in, described
from structxlip.data.quarantine import BadCaption, BadImage, storable
from structxlip.data.readers.records import Record, box_in, need_fields, record_of
from structxlip.errors import UserError
from tests.trees import opened, write

NAN = float("nan")


def reasons(captions: list[Any]) -> list[str]:
    return [text if isinstance(text, str) else text.reason for text in captions]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("A dog", ["A dog"]),
        (["A dog", "A cat"], ["A dog", "A cat"]),
        ("['A dog', 'A cat']", ["A dog", "A cat"]),
        ('["A dog", "A cat"]', ["A dog", "A cat"]),
        (["['A dog', 'A cat']"], ["A dog", "A cat"]),
        ("[sic] a dog", ["[sic] a dog"]),
        ("['A dog' and more", ["['A dog' and more"]),
        ("['A dog', 5]", ["['A dog', 5]"]),
        ([], []),
        (None, ["empty_caption"]),
        (NAN, ["empty_caption"]),
        ("", ["empty_caption"]),
        ("NaN", ["empty_caption"]),
        (" None ", ["empty_caption"]),
        (["A dog", None], ["A dog", "empty_caption"]),
        (12, ["not_text"]),
        (True, ["not_text"]),
        ({"raw": "A dog"}, ["not_text"]),
        ([["A dog"], ["A cat"]], ["not_text", "not_text"]),
        (["A dog", 3], ["A dog", "not_text"]),
        (b"A dog", ["not_text"]),
    ],
)
def test_captions_in_a_value(value: Any, expected: list[str]) -> None:
    assert reasons(captions_in(value)) == expected
    pair = RawPair("a", bytes, value, "a", "test")
    assert reasons(list(pair.captions)) == ([] if value is None else expected)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
)


@given(VALUES)
def test_every_caption_is_a_text_that_was_there(value: Any) -> None:
    values = value if isinstance(value, list) else [value]
    for caption in captions_in(value, "text in t, line 1"):
        if isinstance(caption, BadCaption):
            assert "(text in t, line 1)" in caption.detail
        else:
            assert any(isinstance(one, str) and caption in one for one in values)


@given(VALUES)
def test_a_field_is_a_name_or_is_refused_by_name(value: Any) -> None:
    record = Record({"id": value}, "t.jsonl, line 3")
    whole = isinstance(value, (int, float)) and not isinstance(value, bool) and value % 1 == 0
    if isinstance(value, str) and value:
        assert record.name("id") == value
    elif whole:
        assert record.name("id") == str(int(value))
    else:
        with pytest.raises(BadImage, match=r"^bad_record: id in t\.jsonl, line 3 is "):
            record.name("id")


def test_names_that_differ_by_type_are_one() -> None:
    names = [Record({"id": value}, "r").name("id") for value in (1, "1", 1.0)]
    assert names == ["1"] * 3


def test_boxes() -> None:
    assert box_in([1, 2.6, 3, 4], None, "b") == Box(1, 3, 3, 4, "")
    for sides in ([1, 2, 3], [1, 2, 3, "4"], [1, 2, 3, NAN], [1, 2, 3, 2**40], None):
        with pytest.raises(BadImage, match="bad_record"):
            box_in(sides, "", "b")


def test_a_record_that_is_none() -> None:
    with pytest.raises(BadImage, match=r"bad_record: t, line 2 is the list \[1\], not a mapping"):
        record_of([1], "t, line 2").get("id")


def test_only_a_field_that_no_record_has_is_refused(tmp_path: Path) -> None:
    records = [record_of(value, "r") for value in ({"a": 1}, None, {"b": 2})]
    need_fields(records, ("a", "b"), tmp_path)
    need_fields([], ("a",), tmp_path)
    with pytest.raises(UserError, match="needs c, found: a"):
        need_fields(records, ("a", "c"), tmp_path)


def test_bytes_that_are_no_utf8_are_written_as_escapes() -> None:
    assert storable("a\udcff") == "a\\udcff"
    pair = RawPair("a\udcff", bytes, ["A dog"], "g\udcff", "test")
    assert (pair.id, pair.group) == ("a\\udcff", "g\\udcff")


@given(VALUES)
def test_any_value_is_described_in_one_short_line(value: Any) -> None:
    assert len(described(value)) < 80


COCO = {
    "images": [
        {"id": 1, "file_name": "1.jpg"},
        {"id": "2", "file_name": None},
        {"id": None, "file_name": "3.jpg"},
        "4.jpg",
    ],
    "annotations": [
        {"image_id": "1", "caption": "A dog"},
        {"image_id": 1, "caption": None},
        {"image_id": 2, "caption": ["A cat", 5]},
        {"image_id": [], "caption": "A bird"},
        {"image_id": 9, "caption": "A horse"},
    ],
}


def test_one_bad_record_does_not_end_coco(tmp_path: Path) -> None:
    """Ids match whatever their types; the list of images leaves out the image of the horse."""
    write(tmp_path, {"c.json": COCO, "i/1.jpg": b"1"})
    splits = {"train": {"captions": "c.json", "images": "i"}}
    source = opened("coco", tmp_path, splits=splits)
    assert (source.size, source.unlisted) == (5, 1)
    found = {pair.id: pair for pair in source.pairs}
    assert reasons(list(found["train/1"].captions)) == ["A dog", "empty_caption"]
    assert reasons(list(found["train/2"].captions)) == ["A cat", "not_text"]
    details = {
        "train/2": "missing_image: the name of the file is null (file_name in c.json, images[1])",
        "c.json, images[2]": "bad_record: id in c.json, images[2] is null; it must be a name",
        "c.json, images[3]": "bad_record: c.json, images[3] is the text '4.jpg', not a mapping",
        "c.json, annotations[3]": (
            "bad_record: image_id in c.json, annotations[3] is the list []; it must be a name"
        ),
    }
    assert {*found} == {"train/1", *details}
    for name, detail in details.items():
        with pytest.raises(BadImage) as bad:
            found[name].read_image()
        assert str(bad.value) == detail


def test_numbering_may_start_anew_in_each_split(tmp_path: Path) -> None:
    splits = {name: {"captions": f"{name}.json", "images": name} for name in ("train", "test")}
    for name in splits:
        image = {"images": [{"id": 1, "file_name": "1.jpg"}]}
        write(
            tmp_path, {f"{name}.json": image | {"annotations": [{"image_id": 1, "caption": name}]}}
        )
        write(tmp_path, {f"{name}/1.jpg": name.encode()})
    pairs = opened("coco", tmp_path, splits=splits).pairs
    assert [(pair.id, pair.read_image()) for pair in pairs] == [
        ("train/1", b"train"), ("test/1", b"test")
    ]  # fmt: skip


def test_a_line_that_is_no_json_is_listed(tmp_path: Path) -> None:
    lines = ['{"file_name": "a.jpg", "text": 12}', "{", '{"text": "B"}', '{"file_name": ["x"]}']
    write(tmp_path, {"metadata.jsonl": "\n".join(lines)})
    pairs = list(opened("imagefolder", tmp_path).pairs)
    assert [pair.id for pair in pairs] == [
        "a.jpg",
        *(f"metadata.jsonl, line {n}" for n in (2, 3, 4)),
    ]
    assert reasons(list(pairs[0].captions)) == ["not_text"]
    for pair, reason in zip(
        pairs[1:], ["bad_record", "missing_image", "missing_image"], strict=True
    ):
        with pytest.raises(BadImage, match=reason):
            pair.read_image()


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_table_with_lists_of_captions(tmp_path: Path, suffix: str) -> None:
    rows = [{"image": "a.jpg", "text": ["A dog", "One dog"]}, {"image": "b.jpg", "text": [None]}]
    if suffix == "jsonl":
        write(tmp_path, {"t.jsonl": "\n".join(map(json.dumps, rows))})
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    first, second = opened("table", tmp_path, table=f"t.{suffix}", captions=["text"]).pairs
    assert first.captions == ["A dog", "One dog"]
    assert reasons(list(second.captions)) == ["empty_caption"]
    (bad,) = second.captions
    assert isinstance(bad, BadCaption)
    assert bad.detail.startswith(f"is null (text in t.{suffix}, ")


def test_rows_of_a_table_whose_fields_are_none(tmp_path: Path) -> None:
    rows: list[Any] = [
        {"id": 1, "image": "a.jpg", "text": "A", "split": "train", "sku": 7},
        {"id": "1", "image": "a.jpg", "text": "B", "split": "train", "sku": 7},
        {"id": None, "image": "b.jpg", "text": "C", "split": "test", "sku": 8},
        {"id": 3, "image": 5, "text": "D", "split": ["test"], "sku": None},
        {"id": 4, "image": None, "text": {"de": "E"}, "split": None, "sku": None},
        [1, 2],
    ]
    write(tmp_path, {"t.jsonl": "\n".join(map(json.dumps, rows))})
    settings = {"id": "id", "split": "split", "group": "sku", "captions": ["text"]}
    pairs = list(opened("table", tmp_path, table="t.jsonl", **settings).pairs)
    assert [pair.id for pair in pairs] == [
        "1", "t.jsonl, line 3", "t.jsonl, line 4", "4", "t.jsonl, line 6"
    ]  # fmt: skip
    assert (pairs[0].captions, pairs[0].group) == (["A", "B"], "7")
    assert (pairs[3].group, reasons(list(pairs[3].captions))) == ("", ["not_text"])
    for pair, reason in zip(
        pairs[1:], ["bad_record"] * 2 + ["missing_image", "bad_record"], strict=True
    ):
        with pytest.raises(BadImage, match=reason):
            pair.read_image()


def test_texts_of_parquet_that_are_no_utf8_are_a_matter_of_their_rows(tmp_path: Path) -> None:
    texts = pa.array([b"A dog", b"A caf\xe9"]).view(pa.string())
    lists = pa.array([[b"A dog"], [b"caf\xe9", b"A cat"]], pa.list_(pa.binary())).view(
        pa.list_(pa.string())
    )
    images = pa.array([b"one", b"two"])
    for column in (texts, lists):
        pq.write_table(pa.table({"image": images, "text": column}), tmp_path / "t.parquet")
        first, second = opened("hf_dataset", tmp_path).pairs
        assert first.captions == ["A dog"]
        assert "\udce9" in str(second.captions[0])


def test_a_key_that_comes_twice_loses_nothing_in_silence(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"captions.json": '{"a.jpg": "A", "b.jpg": "B", "a.jpg": "C"}', "images/a.jpg": ""},
    )
    with pytest.raises(
        UserError, match=r"captions\.json is no JSON .*the key 'a\.jpg' comes twice"
    ):
        opened("deepfashion_multimodal", tmp_path)
