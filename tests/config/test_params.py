"""params.yaml is refused at the door with one sentence: path, reason, nearest valid name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from structxlip.config import Recipe, load_params, validate_params
from structxlip.data.sources.flickr import Flickr
from structxlip.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def content() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "params.yaml").read_text())


def change(content: dict[str, Any], path: str, value: object) -> None:
    *parents, key = path.split(".")
    for parent in parents:
        content = content[parent]
    content[key] = value


def follow(content: dict[str, Any], path: str) -> None:
    """Select the recipe that a path names, if it names one: others may be broken."""
    section, _, rest = path.partition(".")
    if section == "recipes":
        content["recipe"] = rest.partition(".")[0]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("train.epoch", 3, "train.epoch: unknown key; did you mean 'epochs'?"),
        ("datsets", {}, "datsets: unknown key; did you mean 'datasets'?"),
        ("regster", {}, "regster: unknown key; did you mean 'register'?"),
        (
            "arms.structxlip.edge_text.wieght",
            1,
            "arms.structxlip.edge_text.wieght: unknown key; did you mean 'weight'?",
        ),
        ("datasets.scenes.trian", 1, "datasets.scenes.trian: unknown key; did you mean 'train'?"),
        (
            "datasets.scenes.kind",
            "flicker",
            "datasets.scenes.kind: unknown kind 'flicker'; did you",
        ),
        ("datasets.scenes", {"path": "x"}, "datasets.scenes.kind: is missing; valid are: coco, "),
        ("datasets.scenes", 3, "datasets.scenes: must be a mapping, not 3"),
        ("datasets.scenes.train", "9", "datasets.scenes.train: input should be a valid integer"),
        ("train.epochs", "3", "train.epochs: input should be a valid integer, or 'auto', not '3'"),
        (
            "train.epochs",
            True,
            "train.epochs: input should be a valid integer, or 'auto', not True",
        ),
        ("train.epochs", 0, "train.epochs: input should be greater than or equal to 1, or 'auto'"),
        ("train", None, "train: must be a mapping, not None"),
        (
            "train.learning_rate",
            float("nan"),
            "train.learning_rate: input should be a finite number",
        ),
        (
            "machine.workers",
            3,
            "machine.workers: batch_size auto, a power of 2, of the recipe frozen must be",
        ),
        (
            "captions.mode",
            "dorp",
            "captions.mode: input should be 'drop', 'mask' or 'downweight', not 'dorp'",
        ),
        ("edges.low", 10.0, "edges: low and high are given together, or both null"),
        ("edges.max_density", 0.001, "edges: min_density must be below max_density"),
        ("evaluation.alphas", [0.5], "evaluation: alphas must hold 0.0, which is plain CLIP"),
        ("evaluation.betas", [0.5], "evaluation: betas must hold 0.0, which reranks nothing"),
        (
            "arms.structxlip.edge_text.schedule",
            {"floor": 0.5},
            "arms.structxlip.edge_text.schedule: floor has no effect without decay_start",
        ),
        (
            "arms.structxlip.edge_text.detach",
            ["texts"],
            "arms.structxlip.edge_text.detach.0: input should be 'image', 'edge' or 'text'",
        ),
        (
            "arms.structxlip.region_chunk.kind",
            "region_chunk",
            ": region_chunk: the kind region_chunk reads crops with an image tower that is trained",
        ),
        ("model.image_tower", "resnet", "model.image_tower: string should match pattern"),
        ("model.trained", "all", "model: trained all needs one CLIP model as both towers, such as"),
        ("model.trained", "most", "model.trained: input should be 'heads', 'lora' or 'all'"),
    ],
)
def test_refused_with_one_sentence(
    content: dict[str, Any], path: str, value: object, sentence: str
) -> None:
    if path.split(".")[0] in Recipe.model_fields:
        place = "recipes.frozen" if sentence.startswith(":") else "recipes.frozen."
        path, sentence = f"recipes.frozen.{path}", f"{place}{sentence}"
    change(content, path, value)
    with pytest.raises(UserError) as refused:
        validate_params(content)
    assert str(refused.value).startswith(f"params.yaml: {sentence}")
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_every_recipe_is_the_one_of_the_method(content: dict[str, Any]) -> None:
    params = validate_params(content)
    frozen, paper = params.recipes["frozen"], params.recipes["paper"]
    assert params.recipe_settings == frozen
    assert (frozen.train.learning_rate, frozen.train.weight_decay) == (1e-3, 0.05)
    assert list(frozen.arms.structxlip.weights.values()) == [0.5, 1.0, 0.05]
    branches = {name: recipe.arms.structxlip.edge_branch for name, recipe in params.recipes.items()}
    assert (branches["frozen"], frozen.edges.cue) == ("image_tower", "gradient")
    assert (branches["outlines"], params.recipes["outlines"].edges.cue) == (
        "descriptor",
        "orientations",
    )
    assert (paper.train.learning_rate, paper.train.weight_decay) == (5e-6, 0.05)
    assert (paper.train.epochs, paper.train.batch_size) == (10, 16)
    assert (paper.train.precision, paper.model.max_tokens) == ("bf16", 248)
    arm = paper.arms.structxlip
    assert list(arm.weights.values()) == [0.25, 0.001, 0.001]
    assert (arm.edge_branch, arm.region_chunk.kind) == ("image_tower", "region_chunk")
    assert arm.edge_image.kind == "cosine"
    schedules = [loss.schedule for loss in arm.structural.values()]
    assert [schedule.floor for schedule in schedules] == [0.7, 0.4, 0.5]
    assert {(schedule.decay_start, schedule.decay_end) for schedule in schedules} == {(1, 8)}
    assert paper.evaluation.alphas == [0.0]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("recipe", "papr", "recipe: unknown recipe 'papr'; did you mean 'paper'?"),
        ("recipes.paper.trian", {}, "recipes.paper.trian: unknown key; did you mean 'train'?"),
        (
            "recipes.frozen.arms.structxlip",
            {"edge_branch": "cnn"},
            "recipes.frozen: edges.tower_grid has no effect without edge_branch: image_tower",
        ),
        (
            "recipes.frozen.edges.tower_grid",
            None,
            "recipes.frozen: edge_branch: image_tower with frozen towers needs edges.tower_grid",
        ),
        (
            "recipes.frozen.edges.tower_grid",
            1,
            "recipes.frozen: the region-chunk loss needs patches; set edges.tower_grid above 1",
        ),
        (
            "recipes.frozen.arms.structxlip.edge_shift_px",
            4,
            "recipes.frozen: arms.structxlip.edge_shift_px has no effect on features",
        ),
        (
            "recipes.outlines.arms.structxlip.edge_branch",
            "none",
            "recipes.outlines.arms.structxlip: edge_branch: none trains no structural loss",
        ),
        (
            "recipes.paper.arms.structxlip.region_chunk.kind",
            "region_chunk_attention",
            "recipes.paper: region_chunk: the kind region_chunk_attention needs patches",
        ),
        (
            "recipes.paper.arms.structxlip.edge_branch",
            "cnn",
            "recipes.paper.arms.structxlip: region_chunk: the kind region_chunk needs edge_branch",
        ),
        (
            "recipes.frozen.train.tuned_share",
            0.5,
            "recipes.frozen: train.tuned_share needs a CLIP model that is trained itself",
        ),
        (
            "recipes.frozen.train.clip_learning_rate",
            1e-5,
            "recipes.frozen: train.clip_learning_rate needs a CLIP model that is trained itself",
        ),
        (
            "recipes.paper.model.embed_dim",
            1024,
            "recipes.paper: model.embed_dim belongs to heads on frozen towers and has no effect",
        ),
        (
            "recipes.paper.captions.mode",
            "downweight",
            "recipes.paper: captions.mode downweight needs a frozen text tower",
        ),
        (
            "recipes.outlines.arms.structxlip.edge_shift_px",
            128,
            "recipes.outlines: arms.structxlip.edge_shift_px must be below edges.size_px",
        ),
        (
            "recipes.frozen.arms.structxlip.extra_losses",
            {"region_chunk": 0.9},
            "recipes.frozen.arms.structxlip: extra_losses: region_chunk has a key of its own",
        ),
        (
            "recipes.frozen.train.region_px",
            64,
            "recipes.frozen: train.region_px has no effect without a region-chunk loss of the kind",
        ),
        (
            "recipes.paper.edges.max_regions",
            0,
            "recipes.paper: the region-chunk loss of the kind region_chunk needs regions; set",
        ),
    ],
)
def test_recipes_that_cannot_be(
    content: dict[str, Any], path: str, value: object, sentence: str
) -> None:
    follow(content, path)
    change(content, path, value)
    with pytest.raises(UserError) as refused:
        validate_params(content)
    assert sentence in str(refused.value)


def test_missing_section_and_several_problems(content: dict[str, Any]) -> None:
    recipe = content["recipes"]["frozen"]
    del recipe["train"], recipe["model"]["text_tower"]
    with pytest.raises(
        UserError, match=r"model\.text_tower: is missing \(wrong too: recipes.frozen.train\)"
    ):
        validate_params(content)


@pytest.mark.parametrize("text", ["a: [", "- 1", "a: 1\na: 2", ""])
def test_not_a_mapping(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=str(path)) as refused:
        load_params(path)
    assert refused.value.exit_code == 2


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot be read \(No such file"):
        load_params(tmp_path / "params.yaml")


def test_numbers_are_yaml_1_2(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text()
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("learning_rate: 1.0e-3", "learning_rate: 1e-3"))
    assert load_params(path).recipes["frozen"].train.learning_rate == 1e-3


def test_shipped_params_and_presets_are_valid(content: dict[str, Any]) -> None:
    params = validate_params(content)
    assert list(params.datasets) == ["scenes"]
    for name, preset in params.presets.items():
        content["datasets"][name] = preset | {"path": "somewhere"}
    assert isinstance(validate_params(content).dataset("photos"), Flickr)


def test_inactive_dataset_says_how_to_activate(content: dict[str, Any]) -> None:
    params = validate_params(content)
    with pytest.raises(UserError, match="structxlip activate photos --path DIR"):
        params.dataset("photos")
    with pytest.raises(UserError, match="'phots' is not active; active are: scenes"):
        params.dataset("phots")


def test_lexicons_of_a_dataset_come_beside_those_of_the_recipe(content: dict[str, Any]) -> None:
    medical = {"path": "x"} | content["presets"]["medical"]
    change(content, "datasets.scans", medical)
    change(content, "datasets.both", medical | {"lexicons": ["general", "fashion"]})
    params = validate_params(content)
    assert params.caption_settings("scenes") == params.recipe_settings.captions
    assert params.caption_settings("scans").lexicons == ["general", "medical"]
    assert params.caption_settings("both").lexicons == ["general", "fashion"]


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("recipe", "seed", "recipe: 'seed' is called 'frozen' now; write `recipe: frozen`"),
        ("recipes.seed", {}, "recipes.seed: is called frozen now; rename the entry"),
        (
            "recipes.frozen.arms.structxlip.losses",
            "seed",
            "recipes.frozen.arms.structxlip.losses: the parts have settings of their own now, "
            "whose defaults these are: remove the key",
        ),
        (
            "recipes.paper.arms.structxlip.losses",
            "paper",
            "recipes.paper.arms.structxlip.losses: the parts have settings of their own now: "
            "write `edge_branch: image_tower`, and the kinds `region_chunk: {kind: region_chunk}` "
            "and `edge_image: {kind: cosine}`",
        ),
        (
            "recipes.frozen.arms.structxlip.variant",
            "patches",
            "recipes.frozen.arms.structxlip.variant: the parts have settings of their own now, "
            "whose defaults these are: remove the key",
        ),
        (
            "recipes.frozen.arms.structxlip.temperature",
            0.2,
            "recipes.frozen.arms.structxlip.temperature: belongs to region_chunk now: write "
            "`region_chunk: {temperature: 0.2}`",
        ),
        (
            "recipes.paper.arms.structxlip.schedule",
            {"warm": 1},
            "recipes.paper.arms.structxlip.schedule: each loss has its own now: write it below "
            "edge_text, region_chunk and edge_image, each with its `floor`",
        ),
    ],
)
def test_an_old_key_is_told_its_new_name(
    content: dict[str, Any], path: str, value: object, sentence: str
) -> None:
    follow(content, path)
    change(content, path, value)
    with pytest.raises(UserError) as refused:
        validate_params(content)
    assert str(refused.value) == f"params.yaml: {sentence}"
    assert refused.value.exit_code == 2


def test_mistakes_in_an_entry_name_their_key(content: dict[str, Any]) -> None:
    change(
        content, "datasets.mine", {"kind": "coco", "path": "x", "splits": {"train": {"imges": "x"}}}
    )
    with pytest.raises(UserError, match=r"datasets\.mine\.splits\.train\.captions: is missing"):
        validate_params(content)
    change(content, "datasets.mine", {"kind": "table", "path": "x", "table": "t", "captions": []})
    with pytest.raises(UserError, match=r"datasets\.mine\.captions: list should have at least 1"):
        validate_params(content)


def test_all_keys_that_are_wrong_are_named_at_once(content: dict[str, Any]) -> None:
    change(content, "machine.wrokers", 2)
    change(content, "recipes.frozen.train.epochs", 0)
    change(content, "seed", -1)
    with pytest.raises(UserError) as refused:
        validate_params(content)
    said = str(refused.value)
    for key in ("machine.wrokers", "recipes.frozen.train.epochs", "seed"):
        assert key in said
    assert said.count("wrong too") == 1
    assert "\n" not in said
