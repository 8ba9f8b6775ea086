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
    source = open_source(entry(flickr))
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
    source = open_source(entry(flickr, splits={}))
    assert {raw.split for raw in source.pairs} == {None}
    assert not source.splits


def test_flickr_says_what_was_found_instead(flickr: Path) -> None:
    with pytest.raises(UserError, match=r"images does not exist; .* holds: Images, captions.txt"):
        open_source(entry(flickr, images="images"))
    (flickr / "captions.txt").write_text("file;text\n")
    with pytest.raises(UserError, match=r"needs image, caption, found: file, text"):
        open_source(entry(flickr))


def test_flickr_refuses_an_image_in_two_splits(flickr: Path) -> None:
    for name in ("a.jpg", "a"):
        (flickr / "test.txt").write_text(f"{name}\n")
        with pytest.raises(UserError, match=r"a\.jpg is listed in both train and test"):
            open_source(entry(flickr))


CAPTIONS = {
    "a b.jpg": ['He says "go" .', "A dog | a cat .", "A # 1 dog"],
    "c#1.jpg": ['"Stop" it says , "go"', "2 dogs"],
}
COMMA = "image,caption\n" + "".join(
    f'{name},"{text.replace(chr(34), chr(34) * 2)}"\n'
    for name, texts in CAPTIONS.items()
    for text in texts
)
TOKEN, RESULTS = (
    "".join(
        line.format(name=name, number=number, text=text)
        for name, texts in CAPTIONS.items()
        for number, text in enumerate(texts)
    )
    for line in ("{name}#{number}\t{text}\n", "{name}| {number}| {text}\n")
)
HEADING = "image_name| comment_number| comment\n"
PUBLISHED = {
    "captions.txt": COMMA,
    "captions.txt with endings left out": COMMA.replace(".jpg", ""),
    "Flickr8k.token.txt": TOKEN,
    "Flickr8k.token.txt after a blank line": f"\n{TOKEN}\n",
    "results.csv": HEADING + RESULTS,
    "results.csv with its row that lacks a bar": HEADING + RESULTS.replace("1| 2 d", "1   2 d"),
    "results.csv with commas": COMMA.replace("image,caption", "image_name,comment"),
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("kind", PUBLISHED)
def test_flickr_tables_as_they_are_published(flickr: Path, kind: str, encoding: str) -> None:
    content = PUBLISHED[kind]
    (flickr / "captions.txt").write_bytes(content.replace("\n", "\r\n").encode(encoding))
    for name in CAPTIONS:
        (flickr / "Images" / name).write_bytes(b"")
    source = open_source(entry(flickr, splits={}))
    assert {raw.id: raw.captions for raw in source.pairs} == CAPTIONS


def test_flickr_results_that_a_program_wrote_anew(flickr: Path) -> None:
    table = HEADING + 'a.jpg| 0|" It says ""go"" ."\n'
    (flickr / "captions.txt").write_text(table)
    (pair,) = open_source(entry(flickr, splits={})).pairs
    assert pair.captions == ['It says "go" .']


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (TOKEN + "a.jpg A dog\n", r"captions\.txt, line 6 is not like the others: 'a.jpg A dog'"),
        (HEADING + "a.jpg A dog\n", r"captions\.txt, line 2 is not like the others"),
        ('image,caption\na.jpg,"A dog\n', r"captions\.txt, line 2: a quotation mark opens"),
    ],
)
def test_flickr_names_the_line_that_is_wrong(flickr: Path, content: str, sentence: str) -> None:
    (flickr / "captions.txt").write_text(content)
    with pytest.raises(UserError, match=sentence):
        open_source(entry(flickr))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", " \n\n"])
def test_flickr_lists_name_images_in_any_way(flickr: Path, encoding: str, line_end: str) -> None:
    """With spaces, with or without endings, twice, in any encoding, with empty lines."""
    (flickr / "captions.txt").write_text(
        "image,caption\na.jpg,A\nmy dog.jpg,B\nc.d.jpg,C\nd.png,D\n"
    )
    for split, names in {"train": ["my dog.jpg", "c.d", "my dog"], "test": ["a", "d"]}.items():
        content = line_end.join([*names, ""]).encode(encoding)
        (flickr / f"{split}.txt").write_bytes(content)
    source = open_source(entry(flickr))
    assert {raw.id: raw.split for raw in source.pairs} == {
        "a.jpg": "test", "my dog.jpg": "train", "c.d.jpg": "train", "d.png": "test",
    }  # fmt: skip
    assert source.unlisted == 0


def test_flickr_lists_of_other_images_are_one_sentence(flickr: Path) -> None:
    (flickr / "test.txt").write_text("1.jpeg\n2.jpeg\n")
    sentence = r"test\.txt: none of its 2 images is known \(first: 1\.jpeg\).* such as a\.jpg"
    with pytest.raises(UserError, match=sentence):
        open_source(entry(flickr))


def test_scenes_grow_without_moving() -> None:
    def drawn(train: int) -> dict[str, bytes]:
        scenes = Scenes(kind="scenes", path=str(VOCABULARY), train=train, val=1, test=2)
        return {raw.id: raw.read_image() for raw in open_source(scenes).pairs}

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
        list(open_source(scenes).pairs)
