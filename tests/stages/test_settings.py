"""What a dataset follows, as files of which each stage depends on those that it reads."""

from __future__ import annotations

import inspect
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ruamel.yaml import YAML

from structxlip.commands import champions, experiments, project, stages
from structxlip.config import validate_params
from structxlip.errors import UserError
from structxlip.stages.settings import sections, settings, write_sections
from tests.operation import ROOT

CONTENT: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
CONTENT["datasets"]["other"] = CONTENT["datasets"]["scenes"] | {"recipe": "mine"}
CONTENT["recipes"]["mine"] = {"like": "outlines", "train": {"epochs": 3}}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def changed(path: str, value: object, dataset: str) -> set[str]:
    """The sections of a dataset that another value at a path changes."""
    content = deepcopy(CONTENT)
    *parents, key = path.split(".")
    node = content
    for parent in parents:
        node = node.setdefault(parent, {})
    node[key] = value
    before, after = (
        sections(validate_params(one).for_dataset(dataset), dataset) for one in (CONTENT, content)
    )
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize(
    ("path", "value", "of_scenes", "of_other"),
    [
        ("datasets.scenes.overrides.train.epochs", 4, {"train"}, set()),
        ("datasets.scenes.overrides.ingest.shard_mib", 8, {"ingest"}, set()),
        ("datasets.scenes.lexicons", ["medical"], {"captions"}, set()),
        ("datasets.scenes.train", 99, {"ingest"}, set()),
        ("ingest.shard_mib", 8, {"ingest"}, {"ingest"}),
        ("recipes.frozen.captions.boilerplate", "drop", {"ingest"}, set()),
        ("recipes.frozen.captions.max_chunks", 9, {"captions"}, set()),
        ("recipes.frozen.edges.size_px", 64, {"edges"}, set()),
        ("recipes.outlines.edges.size_px", 64, set(), {"edges"}),
        ("recipes.outlines.train.epochs", 8, set(), set()),
        ("recipes.mine.arms.structxlip.edge_text", 0.3, set(), {"structxlip"}),
        ("recipes.frozen.model.dropout", 0.1, {"model"}, set()),
        ("recipes.frozen.model.image_px", 64, {"features", "model", "towers"}, set()),
        ("recipes.frozen.model.colour_copies", 2, {"features", "model"}, set()),
        ("recipes.paper.train.epochs", 2, set(), set()),
        ("recipes.paper", {"broken": True}, set(), set()),
        ("datasets.other.recipe", "outlines", set(), {"train"}),
        ("machine.loader_threads", 4, set(), set()),
    ],
)
def test_a_value_changes_the_sections_of_the_datasets_that_follow_it(
    path: str, value: object, of_scenes: set[str], of_other: set[str]
) -> None:
    assert changed(path, value, "scenes") == of_scenes
    assert changed(path, value, "other") == of_other


def test_the_same_values_by_another_way_are_the_same_sections() -> None:
    """So another recipe with the same values makes nothing again."""
    content = deepcopy(CONTENT)
    content["recipes"]["copy"] = deepcopy(content["recipes"]["frozen"])
    content["recipe"] = "copy"
    one, other = (
        sections(validate_params(found).for_dataset("scenes"), "scenes")
        for found in (CONTENT, content)
    )
    assert one == other


def test_every_section_is_written_and_some_stage_depends_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = validate_params(CONTENT).for_dataset("other")
    write_sections(params, "other")
    folder = tmp_path / "data/other/settings"
    written = {file.stem: json.loads(file.read_text()) for file in folder.iterdir()}
    assert written == sections(params, "other")
    needed = {
        Path(dep).stem
        for stage in STAGES.values()
        for dep in stage.get("do", stage)["deps"]
        if "/settings/" in dep
    }
    arms = set(STAGES["train"]["matrix"]["arm"])
    assert needed - {"${item.arm}"} | arms == set(written)


def test_no_stage_but_settings_watches_what_a_dataset_may_override() -> None:
    """A stage that depends on such a key of params.yaml would miss what a dataset overrides."""
    own = ("recipe", "recipes", "ingest", "datasets")
    for name, stage in STAGES.items():
        watched = stage.get("do", stage).get("params", [])
        assert name == "settings" or not [key for key in watched if key.split(".")[0] in own], name


@pytest.mark.parametrize("group", [stages, experiments, champions, project])
def test_commands_that_take_a_dataset_follow_its_own_settings(group: Any) -> None:
    """Every way from the file to a dataset leads through one function."""
    source = inspect.getsource(group)
    assert "load_params(" not in source
    assert "dataset_params(" in source


@pytest.mark.parametrize(
    ("section", "changes", "sentence"),
    [
        ("captions", {"lexicons": ["fashon"]}, "did you mean"),
        (
            "captions",
            {"language_model": "xx_none"},
            "get it with `python -m spacy download xx_none`",
        ),
        ("edges", {"cue": "cany"}, "edges.cue: "),
        ("edges", {"cue": "orientations"}, "arms.structxlip: edge_branch: image_tower reads maps"),
        ("model", {"image_tower": "timm:resnet18/gone.safetensors"}, "gone.safetensors"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    section: str,
    changes: dict[str, Any],
    sentence: str,
) -> None:
    (tmp_path / "scenes.yaml").touch()
    monkeypatch.chdir(tmp_path)
    content = deepcopy(CONTENT)
    content["datasets"] = {"scenes": CONTENT["datasets"]["scenes"] | {"path": "scenes.yaml"}}
    content["recipes"]["frozen"][section] |= changes
    with pytest.raises(UserError) as refused:
        settings(validate_params(content).for_dataset("scenes"), "scenes")
    assert sentence in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_towers_that_made_the_features_are_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scenes.yaml").touch()
    monkeypatch.chdir(tmp_path)
    content = deepcopy(CONTENT)
    content["datasets"] = {"scenes": CONTENT["datasets"]["scenes"] | {"path": "scenes.yaml"}}
    content["recipes"]["frozen"]["model"]["image_tower"] = "timm:resnet18/gone.safetensors"
    params = validate_params(content).for_dataset("scenes")
    features = tmp_path / "data/scenes/features"
    features.mkdir(parents=True)
    row = ["float32", [4]]
    spec = {
        "encoders": params.recipe_settings.model.encoder_settings(),
        **dict.fromkeys(("pairs", "captions", "chunks"), 0),
        **dict.fromkeys(("image", "text", "chunk"), row),
    }
    (features / "sizes.json").write_text(json.dumps(spec))
    settings(params, "scenes")
    assert (tmp_path / "data/scenes/settings/edges.json").is_file()


def test_data_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"scenes\.yaml does not exist; put the data there"):
        settings(validate_params(CONTENT).for_dataset("scenes"), "scenes")
