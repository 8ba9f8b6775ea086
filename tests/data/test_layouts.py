"""Every public layout as a source, each on a small tree that the test writes itself."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pydicom
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from ruamel.yaml import YAML

from structxlip.config.datasets import KINDS, Dataset, examples
from structxlip.data.images import BadImage, decode_rgb
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources import Source, open_source
from structxlip.data.sources.mimic_cxr import sections_of
from structxlip.errors import UserError


def write(root: Path, files: dict[str, Any]) -> None:
    """Files by their paths: bytes, text, or what becomes JSON."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")


def opened(kind: str, root: Path, **settings: Any) -> Source:
    entry = TypeAdapter(Dataset).validate_python({"kind": kind, "path": str(root), **settings})
    return open_source(entry, seed=0)


def told(source: Source) -> list[tuple[str, str | None, str, list[str], bytes]]:
    """The pairs of a source in short: id, split, group, captions and bytes."""
    pairs = list(source.pairs)
    assert len(pairs) == source.size
    return [(p.id, p.split, p.group, list(p.captions), p.read_image()) for p in pairs]


COCO = {
    "images": [{"id": 7, "file_name": "7.jpg"}, {"id": 3, "file_name": "3.jpg"}],
    "annotations": [
        {"image_id": 3, "caption": "a cat"},
        {"image_id": 7, "caption": "a dog"},
        {"image_id": 7, "caption": "one dog"},
    ],
}


def test_coco(tmp_path: Path) -> None:
    one = {"images": [{"id": 9, "file_name": "9.jpg"}], "annotations": []}
    write(tmp_path, {"annotations/captions_train2017.json": COCO})
    write(tmp_path, {"annotations/captions_val2017.json": one})
    write(tmp_path, {"train2017/7.jpg": b"7", "train2017/3.jpg": b"3", "val2017/9.jpg": b"9"})
    source = opened("coco", tmp_path)
    assert source.splits == {"train", "test"}
    assert told(source) == [
        ("7", "train", "7", ["a dog", "one dog"], b"7"),
        ("3", "train", "3", ["a cat"], b"3"),
        ("9", "test", "9", [], b"9"),
    ]


def test_karpathy(tmp_path: Path) -> None:
    images = [
        {"filepath": "val2014", "filename": "a.jpg", "split": "restval", "sentences": []},
        {"filepath": "val2014", "filename": "b.jpg", "split": "test", "sentences": []},
        {"filename": "c.jpg", "split": "val", "sentences": [{"raw": "a cat"}, {"raw": "cat"}]},
        {"filename": "d.jpg", "split": "extra", "sentences": []},
    ]
    write(tmp_path, {"dataset_coco.json": {"images": images}})
    write(tmp_path, {"val2014/a.jpg": b"a", "val2014/b.jpg": b"b", "c.jpg": b"c"})
    source = opened("karpathy", tmp_path)
    assert source.unlisted == 1
    assert [row[:2] + row[3:] for row in told(source)] == [
        ("a.jpg", "train", [], b"a"),
        ("b.jpg", "test", [], b"b"),
        ("c.jpg", "val", ["a cat", "cat"], b"c"),
    ]


def test_docci(tmp_path: Path) -> None:
    lines = [
        {"example_id": f"{split}_0", "split": split, "image_file": f"{split}.jpg",
         "description": f"of {split}"}
        for split in ("train", "qual_dev", "test", "qual_test")
    ]  # fmt: skip
    write(tmp_path, {"docci_descriptions.jsonlines": "\n".join(map(json.dumps, lines)) + "\n"})
    write(tmp_path, {f"images/{row['image_file']}": b"x" for row in lines})
    source = opened("docci", tmp_path)
    assert source.unlisted == 1
    assert [row[:2] for row in told(source)] == [
        ("train_0", "train"),
        ("qual_dev_0", "val"),
        ("test_0", "test"),
    ]


def test_dci(tmp_path: Path) -> None:
    bounds = {"topLeft": {"x": 2, "y": 3}, "bottomRight": {"x": 12, "y": 8}}
    record = {
        "image": "sa_1.jpg",
        "short_caption": "A house.",
        "extra_caption": "It has a door.",
        "mask_data": {"m": {"label": "door", "bounds": bounds}, "none": {"label": "wall"}},
    }
    write(tmp_path, {"annotations/1.json": record, "annotations/2.json": record})
    write(tmp_path, {"photos/sa_1.jpg": b"1", "splits.json": {"train": ["1.json"], "valid": []}})
    source = opened("dci", tmp_path)
    (pair,) = source.pairs
    assert source.unlisted == 1
    assert (pair.id, pair.split, pair.captions) == ("1", "train", ["A house. It has a door."])
    assert pair.boxes == (Box(2, 3, 10, 5, "door"),)
    assert [p.split for p in opened("dci", tmp_path, splits=None).pairs] == [None, None]


REPORT = """
                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 FINDINGS:

 The lungs are clear.  No effusion
 is seen.

 IMPRESSION:  No acute process.
"""


def dicom(path: Path, photometric: str) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    record.SOPClassUID, record.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    record.Rows, record.Columns, record.SamplesPerPixel = 4, 6, 1
    record.BitsAllocated, record.BitsStored, record.HighBit = 16, 12, 11
    record.PixelRepresentation, record.PhotometricInterpretation = 0, photometric
    record.WindowCenter, record.WindowWidth = 2000, 2000
    record.PixelData = np.linspace(0, 4000, 24).astype(np.uint16).tobytes()
    record.save_as(path)


def test_mimic_cxr(tmp_path: Path) -> None:
    head = "dicom_id,study_id,subject_id,split\n"
    rows = "a,50,10000032,train\nb,50,10000032,train\nc,51,11000011,validate\n"
    views = "dicom_id,ViewPosition\na,PA\nb,LATERAL\nc,AP\n"
    write(tmp_path, {"mimic-cxr-2.0.0-split.csv": head + rows})
    write(tmp_path, {"mimic-cxr-2.0.0-metadata.csv": views})
    write(tmp_path, {"files/p10/p10000032/s50.txt": REPORT})
    write(tmp_path, {"files/p10/p10000032/s50/a.jpg": b"a", "files/p11/p11000011/s51/x": b""})
    dicom(tmp_path / "files/p11/p11000011/s51/c.dcm", "MONOCHROME2")
    source = opened("mimic_cxr", tmp_path)
    assert (source.unlisted, source.splits) == (1, {"train", "val"})
    first, second = source.pairs
    assert (first.id, first.split, first.group) == ("a", "train", "p10000032")
    assert first.captions == ["The lungs are clear. No effusion is seen. No acute process."]
    assert first.read_image() == b"a"
    assert (second.split, second.captions) == ("val", [])
    grey = decode_rgb(second.read_image())
    assert grey.shape == (4, 6, 3)
    assert (grey[0, 0, 0], grey[-1, -1, 0]) == (0, 255)
    (only,) = [
        p.captions
        for p in opened("mimic_cxr", tmp_path, sections=["impression"]).pairs
        if p.captions
    ]
    assert only == ["No acute process."]


def test_dicom_that_is_inverted_or_none(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"mimic-cxr-2.0.0-split.csv": "dicom_id,study_id,subject_id,split\nc,51,11,test\n"},
    )
    write(tmp_path, {"mimic-cxr-2.0.0-metadata.csv": "dicom_id,ViewPosition\nc,AP\n"})
    write(tmp_path, {"files/p11/p11/s51/c.dcm": b"not a picture"})
    path = tmp_path / "files/p11/p11/s51/c.dcm"
    (pair,) = opened("mimic_cxr", tmp_path).pairs
    with pytest.raises(BadImage, match=r"corrupt_image: c\.dcm is no DICOM image"):
        pair.read_image()
    dicom(path, "MONOCHROME1")
    grey = decode_rgb(pair.read_image())
    assert (grey[0, 0, 0], grey[-1, -1, 0]) == (255, 0)
    assert pydicom.dcmread(path).PhotometricInterpretation == "MONOCHROME1"


def test_sections_of_a_report() -> None:
    assert sections_of(REPORT) == {
        "examination": "CHEST (PA AND LAT)",
        "findings": "The lungs are clear. No effusion is seen.",
        "impression": "No acute process.",
    }
    assert sections_of("no heading: here") == {}


def test_medpix(tmp_path: Path) -> None:
    def record(case: str, image: str) -> dict[str, Any]:
        about = {"Modality": "CT", "Plane": "Axial", "Caption": "A mass."}
        return {"U_id": case, "image": image, "Location": "Chest", "Description": about}

    records = [record("M1", "M1_a"), record("M1", "M1_b"), record("M2", "M2_a")]
    write(
        tmp_path, {"Descriptions.json": records, "images/M1_a.jpg": b"a", "images/M1_b.png": b"b"}
    )
    write(tmp_path, {"uid_list.json": {"train": ["M1"], "validation": [], "test": []}})
    source = opened("medpix", tmp_path)
    assert source.unlisted == 1
    assert told(source) == [
        ("M1_a", "train", "M1", ["CT, Axial, Chest. A mass."], b"a"),
        ("M1_b", "train", "M1", ["CT, Axial, Chest. A mass."], b"b"),
    ]
    assert [p.split for p in opened("medpix", tmp_path, splits=None).pairs] == [None] * 3
    with pytest.raises(UserError, match="needs Sex, found: U_id, image, Location, Description"):
        opened("medpix", tmp_path, caption="{Sex}")


def test_deepfashion_multimodal(tmp_path: Path) -> None:
    name = "WOMEN-Dresses-id_00000021-01_1_front.jpg"
    other = "WOMEN-Dresses-id_00000021-02_1_side.jpg"
    write(tmp_path, {"captions.json": {name: "A dress.", other: "The dress.", "x.jpg": "A hat."}})
    write(tmp_path, {f"images/{file}": b"i" for file in (name, other, "x.jpg")})
    rows = told(opened("deepfashion_multimodal", tmp_path))
    assert [row[2] for row in rows] == ["WOMEN-Dresses-id_00000021"] * 2 + ["x.jpg"]
    assert rows[0][3] == ["A dress."]


def test_fashion_products(tmp_path: Path) -> None:
    record = {
        "id": 5,
        "image": "5.jpg",
        "name": "Blue shirt",
        "description_html": "<p><b>Fit</b><br />Regular&nbsp;&amp; long</p>",
    }
    write(tmp_path, {"products.jsonl": json.dumps(record), "images/5.jpg": b"5"})
    ((identifier, split, _, (caption,), _),) = told(opened("fashion_products", tmp_path))
    assert (identifier, split) == ("5", None)
    assert " ".join(caption.split()) == "Blue shirt. Fit Regular & long"


def test_structxlip_json(tmp_path: Path) -> None:
    record = {
        "original_filename": "a.jpg",
        "original_caption": "A house.",
        "original_filename_structure": "edges/a.png",
        "segment": [
            {"bbox": [0, 0, 5, 4], "score": 0.2},
            {"bbox": [1.4, 2, 30, 20.6], "score": 0.9, "label": "door"},
        ],
    }
    write(
        tmp_path, {"train.json": [record, {"original_filename": "b.jpg", "original_caption": "B"}]}
    )
    write(tmp_path, {"a.jpg": b"a", "b.jpg": b"b", "edges/a.png": b"edges"})
    first, second = opened("structxlip_json", tmp_path).pairs
    assert first.boxes == (Box(1, 2, 30, 21, "door"), Box(0, 0, 5, 4, ""))
    assert first.read_edges is not None
    assert first.read_edges() == b"edges"
    assert second.read_edges is None


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
        ("t.jsonl", lambda: "\n".join(map(json.dumps, TABLE))),
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


def test_a_table_with_html_images_inside_and_wrong_splits(tmp_path: Path) -> None:
    rows = [{"image": b"raw", "text": "<p>A &lt;hat&gt;</p>", "split": "train"}]
    rows += [{"image": b"more", "text": "{braces}", "split": ""}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    settings: dict[str, Any] = {"table": "t.parquet", "captions": ["text"], "id": "text"}
    first, second = opened("table", tmp_path, html=True, **settings).pairs
    assert (first.captions, first.read_image()) == (["A <hat>"], b"raw")
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
        ("train/a.jpg", "train", ["A"], b"a"),
        ("test/sub/b.jpg", "test", ["B"], b"b"),
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
    assert [row[1:4:2] for row in told(opened("imagefolder", tmp_path))] == [
        ("train", ["A", "An a"]),
        (None, ["B"]),
    ]


def tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as shard:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return out.getvalue()


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
        list(opened("webdataset", tmp_path, caption="json.text").pairs)
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


LISTS = {
    "coco": "annotations/captions_train2017.json",
    "karpathy": "dataset_coco.json",
    "docci": "docci_descriptions.jsonlines",
    "dci": "annotations",
    "mimic_cxr": "mimic-cxr-2.0.0-split.csv",
    "medpix": "Descriptions.json",
    "deepfashion_multimodal": "captions.json",
    "fashion_products": "products.jsonl",
    "structxlip_json": "train.json",
    "table": "table.csv",
    "flickr": "Images",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_file_that_is_not_there_is_named_with_what_is(tmp_path: Path, kind: str) -> None:
    write(tmp_path, {"readme.txt": "hello"})
    settings = {"table": "table.csv", "captions": ["text"]} if kind == "table" else {}
    with pytest.raises(UserError) as refused:
        opened(kind, tmp_path, **settings)
    assert f"{tmp_path / LISTS[kind]} does not exist; {tmp_path} holds: readme.txt" in str(
        refused.value
    )


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset", "hf_dataset"])
def test_a_folder_without_its_files_says_what_it_holds(tmp_path: Path, kind: str) -> None:
    write(tmp_path, {"readme.txt": "hello"})
    with pytest.raises(UserError, match=r"holds: readme\.txt"):
        opened(kind, tmp_path)


def test_every_kind_has_a_source() -> None:
    assert set(KINDS) == {*LISTS, "scenes", "imagefolder", "webdataset", "hf_dataset"}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [("{", "is no JSON that can be read"), ("[]", "must hold a mapping, not []"),
     ("{}", "needs images, annotations, found: nothing")],
)  # fmt: skip
def test_a_list_that_is_none_is_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    write(tmp_path, {"c.json": content, "i/x": b""})
    splits = {"train": {"captions": "c.json", "images": "i"}}
    with pytest.raises(UserError) as refused:
        opened("coco", tmp_path, splits=splits)
    assert sentence in str(refused.value)


def test_no_image_is_read_outside_of_its_folder(tmp_path: Path) -> None:
    write(tmp_path, {"secret.jpg": b"secret", "set/i/in.jpg": b"in"})
    (tmp_path / "set/i/link.jpg").symlink_to(tmp_path / "secret.jpg")
    names = ["in.jpg", "../../secret.jpg", "link.jpg", str(tmp_path / "secret.jpg")]
    write(tmp_path, {"set/t.csv": "image,text\n" + "\n".join(f"{name},x" for name in names)})
    pairs = list(
        opened("table", tmp_path / "set", table="t.csv", images="i", captions=["text"]).pairs
    )

    def outcome(pair: RawPair) -> str:
        try:
            return pair.read_image().decode()
        except BadImage as bad:
            return bad.reason

    assert [outcome(pair) for pair in pairs] == ["in"] + ["outside_folder"] * 3


def test_the_example_of_every_kind_is_valid() -> None:
    shown = YAML(typ="safe").load(examples())
    assert {entry["kind"] for entry in shown.values()} == set(KINDS)
    for entry in shown.values():
        TypeAdapter(Dataset).validate_python(entry)
