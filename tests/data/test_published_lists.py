"""The lists of COCO and of Karpathy with all the fields that the published files have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from structxlip.errors import UserError
from tests.trees import opened, told, write

Tree = dict[str, Any]


def coco(year: int, split: str, numbers: list[int]) -> Tree:
    """The files of one split of COCO: a list, and images named as in that year."""
    prefix = f"COCO_{split}{year}_" if year == 2014 else ""
    names = [f"{prefix}{number:012}.jpg" for number in numbers]
    images = [
        {
            "license": 4,
            "file_name": name,
            "coco_url": f"http://images.cocodataset.org/{split}{year}/{name}",
            "height": 480,
            "width": 640,
            "date_captured": "2013-11-14 17:02:52",
            "flickr_url": "http://farm7.staticflickr.com/1_2_z.jpg",
            "id": number,
        }
        for name, number in zip(names, numbers, strict=True)
    ]
    annotations = [
        {"image_id": number, "id": 5 * number + i, "caption": f"Caption {i} of {number}. \n"}
        for i in range(2)
        for number in reversed(numbers)
    ]
    licenses = [{"url": "http://creativecommons.org/licenses/by/2.0/", "id": 4, "name": "BY"}]
    content = {"info": {"year": year}, "licenses": licenses, "images": images}
    tree: Tree = {
        f"annotations/captions_{split}{year}.json": content | {"annotations": annotations}
    }
    return tree | {f"{split}{year}/{name}": name.encode() for name in names}


def test_coco_as_it_is_published(tmp_path: Path) -> None:
    write(tmp_path, coco(2017, "train", [9, 25]) | coco(2017, "val", [139]))
    write(tmp_path, {"annotations/instances_train2017.json": {"images": [], "annotations": []}})
    source = opened("coco", tmp_path)
    assert source.unlisted == 0
    assert source.splits == {"train", "test"}
    assert [row[:2] for row in told(opened("coco", tmp_path))] == [
        ("train/9", "train"),
        ("train/25", "train"),
        ("test/139", "test"),
    ]
    first = told(source)[0]
    assert [text.strip() for text in first[3]] == ["Caption 0 of 9.", "Caption 1 of 9."]
    assert first[4] == b"000000000009.jpg"


def test_coco_of_2014_is_named_by_its_files(tmp_path: Path) -> None:
    write(tmp_path, coco(2014, "train", [9]) | coco(2014, "val", [9, 42]))
    named = {
        ours: {"captions": f"annotations/captions_{theirs}2014.json", "images": f"{theirs}2014"}
        for ours, theirs in (("train", "train"), ("val", "val"))
    }
    rows = told(opened("coco", tmp_path, splits=named))
    assert [row[0] for row in rows] == ["train/9", "val/9", "val/42"]
    assert rows[2][4] == b"COCO_val2014_000000000042.jpg"


def test_the_list_of_test_images_has_no_captions(tmp_path: Path) -> None:
    tree = coco(2017, "val", [1])
    tree["annotations/captions_val2017.json"].pop("annotations")  # image_info_test2017.json
    write(tmp_path, tree)
    named = {"test": {"captions": "annotations/captions_val2017.json", "images": "val2017"}}
    with pytest.raises(UserError, match="annotations"):
        opened("coco", tmp_path, splits=named)


def karpathy(dataset: str, folders: dict[str, str | None]) -> dict[str, Any]:
    """Karpathy's list of a dataset: for each split one image, in the folder that is given."""
    images = []
    for number, (split, folder) in enumerate(folders.items()):
        sentences = [
            {
                "tokens": ["a", "caption", str(i), "of", split],
                "raw": f"A caption {i} of {split} .",
                "imgid": number,
                "sentid": 5 * number + i,
            }
            for i in range(5)
        ]
        image = {"sentids": [s["sentid"] for s in sentences], "filename": f"{split}.jpg"}
        image |= {"imgid": number, "split": split, "sentences": sentences}
        if folder is not None:
            image |= {"filepath": folder, "cocoid": 391895 + number}
        images.append(image)
    return {"images": images, "dataset": dataset}


@pytest.mark.parametrize("dataset", ["coco", "flickr8k", "flickr30k"])
def test_lists_of_karpathy_as_they_are_published(tmp_path: Path, dataset: str) -> None:
    folders: dict[str, str | None] = {"train": None, "val": None, "test": None}
    if dataset == "coco":  # the images lie in the folders of COCO; the others have one folder
        folders = {"test": "val2014", "restval": "val2014", "val": "val2014", "train": "train2014"}
    write(tmp_path, {f"dataset_{dataset}.json": karpathy(dataset, folders)})
    names = {split: str(Path(folder or "", f"{split}.jpg")) for split, folder in folders.items()}
    write(tmp_path / "images", {name: split.encode() for split, name in names.items()})
    source = opened("karpathy", tmp_path, captions=f"dataset_{dataset}.json", images="images")
    assert source.splits == {"train", "val", "test"}
    rows = told(source)
    assert {row[0]: row[1] for row in rows} == {
        name: "train" if split == "restval" else split for split, name in names.items()
    }
    for (_, _, _, captions, content), split in zip(rows, folders, strict=True):
        assert captions == [f"A caption {i} of {split} ." for i in range(5)]
        assert content == split.encode()
