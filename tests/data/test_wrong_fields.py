"""Fields of the wrong type, in tables and lists: each record is kept or named, and none is lost."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadCaption, BadImage
from structxlip.errors import UserError
from tests.trees import opened, write

WRONG = st.sampled_from(
    [None, True, 7, 1.5, float("nan"), [], ["A", "B"], {}, {"a": 1}, "", " ", "../x", "\0", "nan"]
)


def outcome(pair: RawPair) -> str:
    """The reason why a pair is left out, or "kept"."""
    try:
        pair.read_image()
    except BadImage as bad:
        return bad.reason
    except FileNotFoundError:
        return "missing_image"
    return "kept" if any(isinstance(text, str) for text in pair.captions) else "no_caption"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("fields")
    write(root, {f"images/{i}.jpg": b"x" for i in range(5)})
    return root


def rows(fields: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Five good rows, of which the first have the given fields instead of their own."""
    good = [{"id": i, "image": f"{i}.jpg", "text": f"text {i}", "group": f"g{i}"} for i in range(5)]
    return [row | (fields[i] if i < len(fields) else {}) for i, row in enumerate(good)]


FIELDS = st.lists(
    st.dictionaries(st.sampled_from(["id", "image", "text", "group"]), WRONG), max_size=3
)
SETTINGS: dict[str, Any] = {"id": "id", "group": "group", "images": "images"}


@given(FIELDS, st.sampled_from(["text", "{text}", "A {text}, {id}"]))
def test_each_row_of_a_table_is_a_pair(
    folder: Path, fields: list[dict[str, Any]], caption: str
) -> None:
    given_rows = rows(fields)
    (folder / "t.jsonl").write_text("\n".join(map(json.dumps, given_rows)))
    source = opened("table", folder, table="t.jsonl", captions=[caption], **SETTINGS)
    pairs = list(source.pairs)
    ids = [row["id"] for row in given_rows if type(row["id"]) in (int, str) and row["id"] != ""]
    named = Counter(map(str, ids))
    assert len(pairs) == source.size == 5 - sum(count - 1 for count in named.values())
    untouched = pairs[-2:]
    assert [outcome(pair) for pair in untouched] == ["kept", "kept"]
    for pair in pairs:
        for text in pair.captions:
            assert isinstance(text, BadCaption) or not {"nan", "None", "[", "{"} & set(text.split())


@given(FIELDS)
def test_each_product_is_a_pair(folder: Path, fields: list[dict[str, Any]]) -> None:
    (folder / "products.jsonl").write_text("\n".join(map(json.dumps, rows(fields))))
    source = opened("fashion_products", folder, caption="{text}. {group}")
    pairs = list(source.pairs)
    assert len(pairs) == source.size == 5
    assert [outcome(pair) for pair in pairs[-2:]] == ["kept", "kept"]


@given(st.lists(st.sampled_from(["", " ", "nan", "0.jpg", "../x", "x" * 300]), max_size=4))
def test_each_row_of_captions_counts(folder: Path, names: list[str]) -> None:
    """Rows of one name are one pair; a row without a name is a pair of its own."""
    out = io.StringIO()
    table = [["image", "caption"], *([name, "A dog"] for name in [*names, "4.jpg"])]
    csv.writer(out).writerows(table)
    (folder / "captions.txt").write_text(out.getvalue())
    pairs = list(opened("flickr", folder, images="images").pairs)
    empty = [name for name in names if not name.strip()]
    assert len(pairs) == len(empty) + len({name for name in names if name.strip()} | {"4.jpg"})
    assert sum(len(pair.captions) for pair in pairs) == len(names) + 1 - len(empty)


def test_a_bad_row_is_named_by_its_line(folder: Path) -> None:
    lines = [*map(json.dumps, rows([{"id": None}, {"image": 7}, {"text": 7}])), "{", "[]"]
    (folder / "t.jsonl").write_text("\n\n".join(lines))
    source = opened("table", folder, table="t.jsonl", captions=["text"], **SETTINGS)
    pairs = list(source.pairs)
    assert [(pair.id, outcome(pair)) for pair in pairs] == [
        ("t.jsonl, line 1", "bad_record"),
        ("1", "missing_image"),
        ("2", "no_caption"),
        ("3", "kept"),
        ("4", "kept"),
        ("t.jsonl, line 11", "bad_record"),
        ("t.jsonl, line 13", "bad_record"),
    ]
    (found,) = pairs[2].captions
    assert isinstance(found, BadCaption)
    assert found.detail == "is the number 7, not a text (text in t.jsonl, line 5)"


def test_an_unknown_split_is_named_with_its_line(folder: Path) -> None:
    (folder / "t.csv").write_text("image,text,part\n0.jpg,A,train\n1.jpg,B,holdout\n")
    with pytest.raises(UserError, match=r"t\.csv, line 3: the split 'holdout' must be one of"):
        opened("table", folder, table="t.csv", captions=["text"], split="part", images="images")


def test_mimic_rows_without_a_name_or_a_known_split(tmp_path: Path) -> None:
    head = "dicom_id,study_id,subject_id,split\n"
    table = head + "a,5,1,train\nb,5,1,\nc,,1,test\n,5,1,test\nd,5,1,other\ne,5,1,VALIDATE\n"
    views = "dicom_id,ViewPosition\n" + "".join(f"{name},PA\n" for name in "abcde")
    write(tmp_path, {"mimic-cxr-2.0.0-split.csv": table, "mimic-cxr-2.0.0-metadata.csv": views})
    write(tmp_path, {"files/p1/p1/s5.txt": "FINDINGS: Clear.", "files/p1/p1/s5/a.jpg": b"x"})
    source = opened("mimic_cxr", tmp_path)
    pairs = list(source.pairs)
    assert (len(pairs), source.size, source.unlisted) == (5, 5, 1)
    assert source.splits == {"train", "val", "test"}
    assert [
        (pair.id.removeprefix("mimic-cxr-2.0.0-split.csv, "), outcome(pair)) for pair in pairs
    ] == [
        ("a", "kept"),
        ("line 3", "bad_record"),
        ("line 4", "bad_record"),
        ("line 5", "bad_record"),
        ("e", "missing_image"),
    ]
