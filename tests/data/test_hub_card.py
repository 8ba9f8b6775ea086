"""The splits of a repository with a card are those that `datasets` reads."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import get_dataset_config_names, load_dataset

from structxlip.errors import UserError
from tests.trees import opened, write

NAMES = {"train": "train", "validation": "val", "test": "test"}
FILES = (
    "data/train-00000-of-00001.parquet",
    "data/test-00000-of-00001.parquet",
    "extra/one.parquet",
    "extra/two.parquet",
    "fr/train-00000-of-00001.parquet",
    "fr/validation-00000-of-00001.parquet",
)
CARDS = {
    "shards": """
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: data/test-*
""",
    "other names": """
configs:
- config_name: mine
  data_files:
  - split: train
    path: [extra/one.parquet, 'fr/*']
  - split: validation
    path: extra/two.parquet
""",
    "a folder": """
configs:
- {config_name: fr, data_dir: fr}
""",
    "one pattern": """
configs:
- {config_name: all, data_files: 'extra/*.parquet'}
""",
    "a default of several": """
license: mit
configs:
- {config_name: french, data_dir: fr}
- config_name: english
  default: true
  data_files: [{split: train, path: data/train-*}, {split: test, path: '**/two.parquet'}]
dataset_info: {features: []}
""",
}


def make(root: Path, card: str) -> None:
    for path in FILES:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        image = {"bytes": b"image", "path": None}
        pq.write_table(pa.table({"image": [image], "text": [path]}), root / path)
    write(root, {"README.md": f"---{card}---\n# A set\n---\n"})


def by_us(root: Path, **settings: str) -> dict[str, str | None]:
    """The split of each file, which is its caption."""
    return {pair.captions[0]: pair.split for pair in opened("hf_dataset", root, **settings).pairs}  # type: ignore[misc]


@pytest.mark.parametrize("card", CARDS)
def test_as_datasets_reads(tmp_path: Path, card: str) -> None:
    make(tmp_path, CARDS[card].replace("dataset_info: {features: []}\n", ""))
    expected = {
        text: NAMES[split]
        for split, rows in load_dataset(str(tmp_path), cache_dir=str(tmp_path / "cache")).items()
        for text in rows["text"]
    }
    found = by_us(tmp_path)
    if card == "one pattern":  # no split at all is `train` for `datasets`
        assert found == dict.fromkeys(expected)
    else:
        assert found == expected


def test_a_configuration_by_its_name(tmp_path: Path) -> None:
    make(tmp_path, CARDS["a default of several"])
    assert get_dataset_config_names(str(tmp_path)) == ["french", "english"]
    assert set(by_us(tmp_path, config="french").values()) == {"train", "val"}
    source = opened("hf_dataset", tmp_path, config="english")
    assert source.unlisted == len(FILES) - 2
    assert "4 of 6 files are not in the configuration english" in source.warnings[0]


@pytest.mark.parametrize(
    ("card", "settings", "sentence"),
    [
        (
            "configs: [{config_name: a, data_dir: fr}, {config_name: b, data_dir: data}]",
            {},
            "has the configurations a, b; set `config` to one of them",
        ),
        ("license: mit", {"config": "a"}, "has no configurations; remove `config: a`"),
        ("configs: [{config_name: a}]", {"config": "b"}, "has no configuration b; it has a"),
        ("configs: [{data_dir: fr}]", {}, "its configs cannot be read"),
        ("configs: {a: fr}", {}, "its configs cannot be read"),
        ("configs: [", {}, "its configs cannot be read"),
        (
            "configs: [{config_name: a, data_files: [{split: train, path: no/*}]}]",
            {},
            "names no/\\*, and there is no such Parquet file",
        ),
        (
            "configs: [{config_name: a, data_files: [{split: x, path: fr/*}, "
            "{split: y, path: data/*}]}]",
            {},
            "the splits are named x, y",
        ),
    ],
)
def test_a_card_that_does_not_fit_is_refused(
    tmp_path: Path, card: str, settings: dict[str, str], sentence: str
) -> None:
    make(tmp_path, f"\n{card}\n")
    with pytest.raises(UserError, match=sentence):
        by_us(tmp_path, **settings)


@pytest.mark.parametrize("text", ["# A set\n", "---\nno end\n", ""])
def test_without_a_block_paths_decide(tmp_path: Path, text: str) -> None:
    make(tmp_path, "")
    (tmp_path / "README.md").write_text(text)
    assert by_us(tmp_path)["data/test-00000-of-00001.parquet"] == "test"
