"""The splits of files are those that `datasets` reads on the same trees."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.data_files import DataFilesDict, get_data_patterns
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from structxlip.data.readers.split_names import file_splits, split_lists
from structxlip.data.splits import SPLITS
from structxlip.errors import UserError
from tests.trees import opened, write

# The names that `datasets` gives to the splits.
NAMES = {"train": "train", "validation": "val", "test": "test"}
WORDS = ["train", "training", "validation", "valid", "val", "dev", "test", "eval", "testing"]
OTHERS = ["data", "images", "a", "trainer", "contest", "v2", "part-0", "0000"]


def by_datasets(root: Path) -> dict[str, set[str]]:
    """The splits of each file of a tree by `datasets` itself."""
    patterns = get_data_patterns(str(root))
    found = DataFilesDict.from_patterns(patterns, base_path=str(root))
    splits: dict[str, set[str]] = {}
    for split, files in found.items():
        for file in files:
            splits.setdefault(str(Path(file).relative_to(root)), set()).add(split)
    return splits


def by_us(paths: list[str]) -> dict[str, str | None]:
    found = file_splits(map(PurePath, paths))
    assert {*found.splits, *found.left_out} == {PurePath(path) for path in paths}
    assert bool(found.left_out) == bool(found.warnings)
    return {str(path): split for path, split in found.splits.items()}


def make(root: Path, paths: list[str]) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"PAR1")


TREES = {
    "as the Hub converts": ["default/train/0000.parquet", "default/test/0000.parquet"],
    "folders": ["data/train/part-0.parquet", "data/validation/part-0.parquet"],
    "names": ["train_0.parquet", "validation_0.parquet", "test_0.parquet"],
    "shards": ["data/train-00000-of-00002.parquet", "data/test-00000-of-00001.parquet"],
    "shards with a hash": ["data/train-00000-of-00001-1a2b3c4d.parquet"],
    "shards beside others": ["data/train-00000-of-00001.parquet", "extra/test/0.parquet"],
    "shards elsewhere": ["sub/train-00000-of-00001.parquet", "sub/dev-00000-of-00001.parquet"],
    "partial": ["default/partial-train/0000.parquet", "default/partial-test/0000.parquet"],
    "a folder without a split": ["train/0.parquet", "extra/0.parquet"],
    "folders before names": ["train/test.parquet", "dev/train.parquet"],
    "deep": ["a/b/my_test/c/0.parquet", "a/b/my train 2/c/0.parquet"],
    "no words": ["trainer/0.parquet", "contest/0.parquet", "latest.parquet"],
    "hidden": ["train/0.parquet", "test/0.parquet"],
}


@pytest.mark.parametrize("tree", TREES)
def test_as_datasets_reads(tmp_path: Path, tree: str) -> None:
    make(tmp_path, TREES[tree])
    expected = by_datasets(tmp_path)
    found = by_us(TREES[tree])
    if set.union(*expected.values()) == {"train"} and None in found.values():
        assert found == dict.fromkeys(expected)  # no split at all is `train` for `datasets`
        return
    assert {path: {split} for path, split in found.items()} == {
        path: {NAMES[split] for split in splits} for path, splits in expected.items()
    }


PARTS = st.builds(
    lambda before, word, after: before + word + after,
    st.sampled_from(["", "", "my-", "x_", "a.", "no", "2 "]),
    st.sampled_from(WORDS + OTHERS),
    st.sampled_from(["", "", "-0", "_1", " 2", "2017", "er", ".x"]),
)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
@given(st.lists(st.lists(PARTS, min_size=1, max_size=3), min_size=1, max_size=5))
def test_any_tree_is_read_as_datasets_reads_it(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]]
) -> None:
    paths = sorted({"/".join(["d", *parts]) + ".parquet" for parts in names})
    root = tmp_path_factory.mktemp("tree")
    make(root, paths)
    expected = by_datasets(root)
    assume(all(len(splits) == 1 for splits in expected.values()))  # else refused, or innermost
    found = by_us(paths)
    if None in found.values():
        assert {*expected} == {*found}
        assert set.union(*expected.values()) == {"train"}
    else:
        assert found == {path: NAMES[split] for path, (split,) in expected.items()}


@pytest.mark.parametrize(
    ("paths", "splits"),
    [
        (["Train/0.tar", "TEST/0.tar"], {"Train/0.tar": "train", "TEST/0.tar": "test"}),
        (["train-test-set/train/0.tar", "train-test-set/dev/0.tar"],
         {"train-test-set/train/0.tar": "train", "train-test-set/dev/0.tar": "val"}),
        (["data/full-00000-of-00001.parquet"], {"data/full-00000-of-00001.parquet": None}),
    ],
)  # fmt: skip
def test_beyond_datasets(paths: list[str], splits: dict[str, str | None]) -> None:
    assert {
        str(path): split for path, split in file_splits(map(PurePath, paths)).splits.items()
    } == splits


def test_splits_that_are_not_understood_are_said() -> None:
    with pytest.raises(UserError, match=r"train-test\.tar names the splits train and test at once"):
        file_splits([PurePath("train-test.tar")])
    others = [PurePath(f"data/{name}-00000-of-00001.parquet") for name in ("seen", "unseen")]
    with pytest.raises(UserError, match=r"splits are named seen, unseen, and none of them is"):
        file_splits(others)
    (sentence,) = file_splits(others[:1]).warnings
    assert sentence == "the only split is named seen, so it is taken as data without splits"
    some = file_splits([*others, PurePath("data/train-00000-of-00001.parquet")])
    assert some.left_out == others
    assert "2 of 3 files belong to no split (first: data/seen-" in some.warnings[0]


def rows(*texts: str) -> pa.Table:
    image = {"bytes": b"raw", "path": None}
    return pa.Table.from_pylist([{"image": image, "text": text} for text in texts])


def test_parquet_of_splits_and_none(tmp_path: Path) -> None:
    for name, texts in {"train/0": "ab", "test/0": "c", "extra/0": "def"}.items():
        (tmp_path / name).parent.mkdir()
        pq.write_table(rows(*texts), tmp_path / f"{name}.parquet")
    source = opened("hf_dataset", tmp_path)
    assert Counter(pair.split for pair in source.pairs) == {"train": 2, "test": 1}
    assert (source.unlisted, source.splits) == (3, {"train", "test"})
    assert "left out" in source.warnings[0]


def test_saved_splits_of_other_names(tmp_path: Path) -> None:
    def save(*splits: str) -> Path:
        root = tmp_path / "-".join(splits)
        write(root, {"dataset_dict.json": {"splits": splits}})
        for split in splits:
            state = {"_data_files": [{"filename": "0.arrow"}]}
            write(root, {f"{split}/state.json": state})
            with pa.ipc.new_stream(root / split / "0.arrow", rows("a").schema) as out:
                out.write_table(rows(split))
        return root

    source = opened("hf_dataset", save("train", "holdout"))
    assert [(pair.id, pair.split) for pair in source.pairs] == [("train/0.arrow#0", "train")]
    assert source.unlisted == 1
    assert source.warnings == ["the splits holdout are none of train, val, test, and are left out"]
    assert [pair.split for pair in opened("hf_dataset", save("full")).pairs] == [None]
    with pytest.raises(UserError, match="splits are named holdout, seen, and none"):
        opened("hf_dataset", save("seen", "holdout"))


def metadata(names: list[str], kind: str) -> str | bytes:
    rows = [{"file_name": name, "text": f"of {name}"} for name in names]
    if kind == "csv":
        return "file_name,text\n" + "".join(f"{r['file_name']},{r['text']}\n" for r in rows)
    if kind == "jsonl":
        return "\n".join(map(json.dumps, rows))
    out = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return bytes(out.getvalue().to_pybytes())


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("above", ["", "data/", "a/b/"])
def test_imagefolder_with_metadata_in_split_folders(tmp_path: Path, kind: str, above: str) -> None:
    for split in ("train", "validation", "test"):
        write(tmp_path, {f"{above}{split}/metadata.{kind}": metadata(["0.jpg"], kind)})
        write(tmp_path, {f"{above}{split}/0.jpg": split.encode()})
    found = {
        p.id: (p.split, p.captions, p.read_image()) for p in opened("imagefolder", tmp_path).pairs
    }
    assert found == {
        f"{above}{name}/0.jpg": (split, ["of 0.jpg"], name.encode())
        for name, split in NAMES.items()
    }
    loaded = by_datasets(tmp_path)
    assert {name: {NAMES[s] for s in loaded[name]} for name in found} == {
        name: {split} for name, (split, *_) in found.items()
    }


def test_imagefolder_with_one_list_above_split_folders(tmp_path: Path) -> None:
    names = ["images/train/0.jpg", "images/test/0.jpg", "images/0.jpg"]
    write(tmp_path, {"metadata.csv": metadata(names, "csv")})
    source = opened("imagefolder", tmp_path)
    assert [(p.id, p.split) for p in source.pairs] == [(names[0], "train"), (names[1], "test")]
    assert (source.unlisted, source.size) == (1, 2)
    assert "1 images are in no split folder" in source.warnings[0]


def test_imagefolder_whose_names_tell_the_splits(tmp_path: Path) -> None:
    write(tmp_path, {"metadata.csv": metadata(["train_0.jpg", "test_0.jpg"], "csv")})
    assert [p.split for p in opened("imagefolder", tmp_path).pairs] == ["train", "test"]
    write(tmp_path, {"metadata.csv": metadata(["red hat.jpg", "test tube.jpg"], "csv")})
    assert [p.split for p in opened("imagefolder", tmp_path).pairs] == [None, None]
    write(tmp_path, {"metadata.jsonl": metadata(["a.jpg"], "jsonl")})
    with pytest.raises(UserError, match="has more than one metadata file; keep one of them"):
        opened("imagefolder", tmp_path)


def test_lists_of_splits(tmp_path: Path) -> None:
    path = tmp_path / "s.json"

    def read(content: object) -> dict[str, str]:
        path.write_text(json.dumps(content))
        return split_lists(path)

    assert read({"train": ["a", 1], "Validation": ["2"], "note": 5}) == {
        "a": "train", "1": "train", "2": "val"
    }  # fmt: skip
    for content, sentence in [
        ({"train": ["1"], "test": [1]}, "1 is listed in both train and test"),
        ({"one": ["a"], "two": []}, "splits are named one, two, and none of them is"),
        ({"train": "a"}, "train in .* must be a list, not the text 'a'"),
        ({"train": [None]}, "train in .* holds null; remove it"),
    ]:
        with pytest.raises(UserError, match=sentence):
            read(content)
    assert set(SPLITS) == set(NAMES.values())
