"""The Flickr layout and the built-in drawings as sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from structxlip.data.images import decode_rgb
from structxlip.data.sources import open_source
from structxlip.data.sources.flickr import Flickr
from structxlip.data.sources.scenes import Scenes
from structxlip.errors import UserError

VOCABULARY = Path(__file__).parents[2] / "structxlip/data/scenes.yaml"


@pytest.fixture
def flickr(tmp_path: Path) -> Path:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "a.jpg").write_bytes(b"A")
    (tmp_path / "captions.txt").write_text(
        'image,caption\na.jpg,"A dog, a cat ."\na.jpg,A dog\nb.jpg,A bird\nz.jpg,unlisted\n'
    )
    (tmp_path / "train.txt").write_text("a.jpg\nc.jpg\n")
    (tmp_path / "test.txt").write_text("b.jpg\n")
    return tmp_path


def entry(path: Path, **changes: object) -> Flickr:
    splits = {"train": "train.txt", "test": "test.txt"}
    return Flickr.model_validate({"kind": "flickr", "path": str(path), "splits": splits} | changes)


def test_flickr_pairs(flickr: Path) -> None:
    source = open_source(entry(flickr), seed=0)
    pairs = {raw.id: raw for raw in source.pairs}
    assert list(pairs) == ["a.jpg", "b.jpg", "c.jpg"]
    assert source.size == 3
    assert source.unlisted == 1
    assert source.splits == {"train", "test"}
    assert pairs["a.jpg"].captions == ["A dog, a cat .", "A dog"]
    assert pairs["a.jpg"].read_image() == b"A"
    assert [raw.split for raw in pairs.values()] == ["train", "test", "train"]
    assert pairs["c.jpg"].captions == []
    with pytest.raises(FileNotFoundError):
        pairs["b.jpg"].read_image()


def test_flickr_without_lists_leaves_the_splits_open(flickr: Path) -> None:
    source = open_source(entry(flickr, splits={}), seed=0)
    assert {raw.split for raw in source.pairs} == {None}
    assert not source.splits


def test_flickr_says_what_was_found_instead(flickr: Path) -> None:
    with pytest.raises(UserError, match=r"images does not exist; .* holds: Images, captions.txt"):
        open_source(entry(flickr, images="images"), seed=0)
    (flickr / "captions.txt").write_text("file;text\n")
    with pytest.raises(UserError, match=r"needs the columns image and caption .* found: file;text"):
        open_source(entry(flickr), seed=0)


def test_flickr_refuses_an_image_in_two_splits(flickr: Path) -> None:
    (flickr / "test.txt").write_text("a.jpg\n")
    with pytest.raises(UserError, match=r"a\.jpg is listed in both train and test"):
        open_source(entry(flickr), seed=0)


def test_scenes_grow_without_moving() -> None:
    def drawn(train: int) -> dict[str, bytes]:
        scenes = Scenes(kind="scenes", path=str(VOCABULARY), train=train, val=1, test=2)
        return {raw.id: raw.read_image() for raw in open_source(scenes, seed=0).pairs}

    small, large = drawn(2), drawn(3)
    assert list(small) == ["train-000000", "train-000001", "val-000000", *list(small)[3:]]
    assert small.items() < large.items()
    assert decode_rgb(small["val-000000"]).shape == (160, 160, 3)


def test_a_vocabulary_of_endless_phrases_is_one_sentence(tmp_path: Path) -> None:
    content = YAML(typ="safe").load(VOCABULARY.read_text())
    content["shapes"] = {
        name: [f"{phrase} {'and so on ' * 80}" for phrase in phrases]
        for name, phrases in content["shapes"].items()
    }
    path = tmp_path / "endless.yaml"
    YAML().dump(content, path)
    scenes = Scenes(kind="scenes", path=str(path), train=1, val=1, test=1)
    with pytest.raises(UserError, match=r"endless\.yaml: no caption of .* phrases are too long"):
        list(open_source(scenes, seed=0).pairs)
