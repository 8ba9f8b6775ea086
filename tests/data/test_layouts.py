"""Every public layout as a source, each on a small tree that the test writes itself."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydantic import TypeAdapter
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from ruamel.yaml import YAML

from structxlip.config.datasets import Dataset, dataset_kinds
from structxlip.config.reference import examples
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import Box, RawPair
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from tests.trees import opened, told, write

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
        ("train/7", "train", "train/7", ["a dog", "one dog"], b"7"),
        ("train/3", "train", "train/3", ["a cat"], b"3"),
        ("test/9", "test", "test/9", [], b"9"),
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
        ("val2014/a.jpg", "train", [], b"a"),
        ("val2014/b.jpg", "test", [], b"b"),
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
        ("train.jpg", "train"),
        ("qual_dev.jpg", "val"),
        ("test.jpg", "test"),
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
    # As published, packed.
    write(tmp_path, {"mimic-cxr-2.0.0-metadata.csv.gz": gzip.compress(views.encode())})
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
    with pytest.raises(BadImage, match=r"corrupt_image: no DICOM image"):
        pair.read_image()
    dicom(path, "MONOCHROME1")
    grey = decode_rgb(pair.read_image())
    assert (grey[0, 0, 0], grey[-1, -1, 0]) == (255, 0)
    assert pydicom.dcmread(path).PhotometricInterpretation == "MONOCHROME1"


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
    (tmp_path / "splitted_dataset").mkdir()  # where the published dataset has it
    (tmp_path / "uid_list.json").rename(tmp_path / "splitted_dataset/uid_list.json")
    assert opened("medpix", tmp_path).unlisted == 1
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
    assert " ".join(caption.split()) == "Blue shirt. Fit. Regular & long"


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
    assert set(dataset_kinds()) == {*LISTS, "scenes", "imagefolder", "webdataset", "hf_dataset"}


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
    assert {entry["kind"] for entry in shown.values()} == set(dataset_kinds())
    for entry in shown.values():
        TypeAdapter(Dataset).validate_python(entry)
