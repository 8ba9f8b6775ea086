"""Small valid trees of every kind of source, and what may be wrong with them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

# What may stand where a text, a number or a list was expected.
WRONG: list[Any] = [
    *(None, True, 0, 7, -1, 2**63, 1.5, 1e308, float("nan"), float("inf")),
    *("", " ", "nan", "../up.png", "/etc/hostname", "a\0b", "\ud800", "x" * 300, ".", "train"),
    *([], [None], ["A dog", "A cat"], [["A dog"], ["A cat"]], [1, 2], [{}], {}, {"raw": "A dog"}),
    *({"bytes": None, "path": None}, "['A dog', 'A cat']", "<p></p>", '"', "a,b\n"),
]
SPLITS = ("train", "val", "test")


@dataclass
class Tree:
    """The files of a dataset before they are written.

    Attributes:
        settings: the keys of its entry, without `path`.
        documents: what becomes JSON, a table, Parquet, Arrow or a tar file, by paths.
        images: encoded images by paths.
        given: tells how many pairs the documents list.
    """

    settings: dict[str, Any]
    documents: dict[str, Any]
    images: dict[str, bytes]
    given: Callable[[dict[str, Any]], int]


@cache
def image(number: int) -> bytes:
    """A small PNG of noise."""
    noise = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
    return cv2.imencode(".png", noise)[1].tobytes()


def text(number: int) -> str:
    """A caption."""
    return f"A picture with the number {number}"


def split(number: int) -> str:
    """The splits in turn."""
    return SPLITS[number % len(SPLITS)]


def always(size: int) -> Callable[[dict[str, Any]], int]:
    """As many pairs as the valid tree has, whatever stands in the documents."""
    return lambda documents: size


def named(path: str, column: str) -> Callable[[dict[str, Any]], int]:
    """As many pairs as a table has names in a column: rows of one name are one pair."""

    def count(documents: dict[str, Any]) -> int:
        rows = [row if isinstance(row, dict) else {"image": row} for row in documents[path]]
        if path.endswith(".parquet"):
            rows = _table(rows).to_pylist()
        filled = [row for row in rows if path.endswith(".jsonl") or any(map(_cell, row.values()))]
        # A list of Flickr may name an image without its ending.
        return len({Path(_cell(row.get(column))).stem for row in filled})

    return count


def listed(documents: dict[str, Any]) -> int:
    """As many pairs as the list under `images` of a document has entries."""
    return sum(len(content["images"]) for content in documents.values())


def not_blank(documents: dict[str, Any]) -> int:
    """As many pairs as the documents have rows; a row without cells is none in a text table."""
    return sum(
        not path.endswith(".csv")
        or any(map(_cell, row.values() if isinstance(row, dict) else [row]))
        for path, rows in documents.items()
        for row in rows
    )


def table(size: int) -> Tree:
    rows = [
        {"id": i, "image": f"{i}.png", "text": text(i), "split": split(i), "group": f"g{i}"}
        for i in range(size)
    ]
    name = ("t.jsonl", "t.csv", "t.parquet")[size % 3]
    settings = {"table": name, "images": "i", "captions": ["text"], "id": "id", "split": "split"}
    return Tree(settings | {"group": "group"}, {name: rows}, images("i", size), named(name, "id"))


def images(folder: str, size: int, names: str = "{}.png") -> dict[str, bytes]:
    """Images in a folder."""
    return {f"{folder}/{names.format(i)}": image(i) for i in range(size)}


def coco(size: int) -> Tree:
    documents = {}
    for part, numbers in (("train", range(0, size, 2)), ("test", range(1, size, 2))):
        documents[f"{part}.json"] = {
            "images": [{"id": i // 2, "file_name": f"{i}.png"} for i in numbers],
            "annotations": [
                {"image_id": i // 2, "caption": text(i + more)} for i in numbers for more in (0, 1)
            ],
        }
    splits = {part: {"captions": f"{part}.json", "images": "i"} for part in ("train", "test")}
    return Tree({"splits": splits}, documents, images("i", size), always(size))


def karpathy(size: int) -> Tree:
    records = [
        {
            "filepath": "i",
            "filename": f"{i}.png",
            "split": split(i),
            "sentences": [{"raw": text(i)}],
        }
        for i in range(size)
    ]
    return Tree({}, {"dataset_coco.json": {"images": records}}, images("i", size), listed)


def docci(size: int) -> Tree:
    records = [
        {"example_id": f"e{i}", "image_file": f"{i}.png", "split": split(i), "description": text(i)}
        for i in range(size)
    ]
    return Tree({}, {"docci_descriptions.jsonlines": records}, images("images", size), always(size))


def dci(size: int) -> Tree:
    bounds = {"topLeft": {"x": 1, "y": 2}, "bottomRight": {"x": 9, "y": 8}}
    documents: dict[str, Any] = {
        f"annotations/{i}.json": {
            "image": f"{i}.png",
            "short_caption": text(i),
            "extra_caption": "It is noise.",
            "mask_data": {"m": {"label": "noise", "bounds": bounds}},
        }
        for i in range(size)
    }
    lists = {part: [f"{i}.json" for i in range(size) if split(i) == part] for part in SPLITS}
    return Tree({}, documents | {"splits.json": lists}, images("photos", size), always(size))


def deepfashion_multimodal(size: int) -> Tree:
    captions = {f"{i}.png": text(i) for i in range(size)}
    return Tree({}, {"captions.json": captions}, images("images", size), always(size))


def structxlip_json(size: int) -> Tree:
    records = [
        {
            "original_filename": f"i/{i}.png",
            "original_caption": text(i),
            "original_filename_structure": f"i/{i}.png",
            "segment": [{"bbox": [0, 1, 5, 4], "score": 0.5, "label": "noise"}],
        }
        for i in range(size)
    ]
    return Tree({}, {"train.json": records}, images("i", size), always(size))


def medpix(size: int) -> Tree:
    records = [
        {
            "U_id": f"M{i}",
            "image": f"M{i}_a",
            "Location": "Chest",
            "Description": {"Modality": "CT", "Plane": "Axial", "Caption": text(i)},
        }
        for i in range(size)
    ]
    lists = {part: [f"M{i}" for i in range(size) if split(i) == part] for part in SPLITS}
    documents: dict[str, Any] = {"Descriptions.json": records, "uid_list.json": lists}
    return Tree({}, documents, images("images", size, "M{}_a.png"), always(size))


def fashion_products(size: int) -> Tree:
    records = [
        {"id": i, "image": f"{i}.png", "name": f"Hat {i}", "description_html": f"<p>{text(i)}</p>"}
        for i in range(size)
    ]
    return Tree({}, {"products.jsonl": records}, images("images", size), always(size))


def flickr(size: int) -> Tree:
    rows = [{"image": f"{i}.png", "caption": text(i)} for i in range(size)]
    return Tree({}, {"captions.txt": rows}, images("Images", size), named("captions.txt", "image"))


def mimic_cxr(size: int) -> Tree:
    rows = [
        {"dicom_id": f"d{i}", "study_id": f"{i}", "subject_id": f"1{i}",
         "split": "validate" if split(i) == "val" else split(i)}
        for i in range(size)
    ]  # fmt: skip
    documents: dict[str, Any] = {
        "mimic-cxr-2.0.0-split.csv": rows,
        "mimic-cxr-2.0.0-metadata.csv": [
            {"dicom_id": f"d{i}", "ViewPosition": "PA"} for i in range(size)
        ],
    }
    documents |= {f"files/p1{i}/p1{i}/s{i}.txt": f"FINDINGS: {text(i)}." for i in range(size)}
    pictures = {f"files/p1{i}/p1{i}/s{i}/d{i}.jpg": image(i) for i in range(size)}
    return Tree({}, documents, pictures, named("mimic-cxr-2.0.0-split.csv", "dicom_id"))


def imagefolder(size: int) -> Tree:
    suffix = ("jsonl", "csv", "parquet")[size % 3]
    documents = {
        f"data/{part}/metadata.{suffix}": [
            {"file_name": f"{i}.png", "text": text(i)} for i in range(size) if split(i) == part
        ]
        for part in SPLITS[:size]
    }
    return Tree(
        {}, documents, {f"data/{split(i)}/{i}.png": image(i) for i in range(size)}, not_blank
    )


def webdataset(size: int) -> Tree:
    documents: dict[str, Any] = {
        f"{part}/00000.tar": {
            name: content
            for i in range(size)
            if split(i) == part
            for name, content in ((f"{i}.png", image(i)), (f"{i}.json", {"caption": text(i)}))
        }
        for part in SPLITS[:size]
    }
    settings = {"shards": "*/*.tar", "caption": "json.caption"}
    return Tree(settings, documents, {}, always(size))


def hf_dataset(size: int) -> Tree:
    rows = [{"image": {"bytes": image(i), "path": None}, "text": [text(i)]} for i in range(size)]
    parts = {
        part: [row for i, row in enumerate(rows) if split(i) == part] for part in SPLITS[:size]
    }
    if size % 2:
        documents: dict[str, Any] = {f"{part}/0.parquet": rows for part, rows in parts.items()}
    else:
        state = {"_data_files": [{"filename": "data-0.arrow"}]}
        documents = {f"{part}/data-0.arrow": rows for part, rows in parts.items()}
        documents |= {f"{part}/state.json": state for part in parts}
        documents["dataset_dict.json"] = {"splits": list(parts)}
    return Tree({}, documents, {}, always(size))


KINDS: dict[str, Callable[[int], Tree]] = {
    function.__name__: function
    for function in (
        table, coco, karpathy, docci, dci, deepfashion_multimodal, structxlip_json, medpix,
        fashion_products, flickr, mimic_cxr, imagefolder, webdataset, hf_dataset,
    )
}  # fmt: skip


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """The places in a document where something may be replaced: a container, and its key."""
    keys = (
        value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    )
    for key in list(keys):
        if not isinstance(value[key], bytes):
            yield value, key
        yield from places(value[key])


def write_tree(tree: Tree, root: Path) -> None:
    """Write the files of a tree below a folder."""
    for name, content in {**tree.documents, **tree.images}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_encoded(content, path.suffix))


def _encoded(content: Any, suffix: str) -> bytes:
    if isinstance(content, bytes):
        return content
    if suffix in (".jsonl", ".jsonlines") and isinstance(content, list):
        return "\n".join(map(json.dumps, content)).encode()
    if suffix in (".csv", ".txt") and isinstance(content, list):
        return _csv(content)
    if suffix in (".parquet", ".arrow") and isinstance(content, list):
        return _arrow(content, suffix)
    if suffix == ".tar" and isinstance(content, dict):
        return _tar(content)
    if suffix == ".json":
        return json.dumps(content).encode()
    return str(content).encode("utf-8", "surrogateescape" if suffix == ".txt" else "replace")


def _cell(value: Any) -> str:
    """A value as a cell of a text table."""
    return "" if value is None else str(value).strip()


def _csv(rows: list[Any]) -> bytes:
    out = io.StringIO()
    rows = [row if isinstance(row, dict) else {"image": row} for row in rows]
    writer = csv.writer(out)
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return out.getvalue().encode("utf-8", "replace")


def _table(rows: list[Any]) -> pa.Table:
    """Rows as a table. A column has one type: a value of another type takes all of it."""
    rows = [row if isinstance(row, dict) else {"image": row} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _arrow(rows: list[Any], suffix: str) -> bytes:
    """Rows as Parquet or Arrow."""
    out, content = io.BytesIO(), _table(rows)
    if suffix == ".parquet":
        pq.write_table(content, out, write_page_checksum=True)
    else:
        with pa.ipc.new_stream(out, content.schema) as writer:
            writer.write_table(content)
    return out.getvalue()


def _column(values: list[Any]) -> pa.Array:
    for candidate in (values, [values[0]] * len(values), [None] * len(values)):
        try:
            column = pa.array(candidate)
            pq.write_table(pa.table({"column": column}), io.BytesIO())
            return column
        except (pa.ArrowException, OverflowError, UnicodeError):
            continue
    raise AssertionError("nulls always make a column")


def _tar(members: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in members.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()
