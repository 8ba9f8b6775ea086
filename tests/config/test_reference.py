"""Every key of params.yaml describes itself, and a loss weight keeps its name everywhere."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from pydantic import BaseModel
from ruamel.yaml import YAML

from structxlip.config import ArmSettings, Params, load_params, validate_params
from structxlip.config.arms import STRUCTURAL_LOSSES, VANILLA
from structxlip.config.datasets import dataset_kinds, entry_class
from structxlip.config.recipe import RecipeEntry
from structxlip.config.reference import (
    describe_keys,
    example_entry,
    key_references,
    kind_description,
    kind_reference,
)
from structxlip.errors import UserError
from structxlip.losses import CompositeLoss
from tests.operation import ROOT

DATASETS = [entry_class(kind) for kind in dataset_kinds()]


def sections(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all models within it."""
    found = {model}
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= sections(field.annotation)
    return found


@pytest.mark.parametrize(
    "section",
    sorted(
        {s for m in (Params, RecipeEntry, *DATASETS) for s in sections(m)}, key=lambda s: s.__name__
    ),
)
def test_every_field_says_what_it_is(section: type[BaseModel]) -> None:
    assert section.__doc__
    for name, field in section.model_fields.items():
        if name != "kind":  # the name of the class, described by the class
            assert (field.description or "").endswith("."), f"{section.__name__}.{name}"


def test_numbers_say_what_higher_and_lower_values_do() -> None:
    """Keys that are tuned tell their trade-off; counts and limits need not."""
    tuned = [key for key in key_references() if key.key.startswith(("train.", "edges.", "arms."))]
    assert len(tuned) > 30
    for key in tuned:
        if "number" in key.values and ".schedule.decay" not in key.key:
            trade_off = ("Higher" in key.description) or ("Lower" in key.description)
            assert trade_off, key.key


def test_the_reference_has_every_key_of_the_shipped_file() -> None:
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    known = {entry.key for entry in key_references()}

    def leaves(node: Any, prefix: str = "") -> set[str]:
        if not isinstance(node, dict) or not node:
            return {prefix.removesuffix(".")}
        return {leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")}

    own = leaves({k: v for k, v in content.items() if k not in ("datasets", "presets", "recipes")})
    of_recipes = {leaf for recipe in content["recipes"].values() for leaf in leaves(recipe)}
    assert own | of_recipes <= known


def test_a_key_is_shown_with_values_default_and_description() -> None:
    shown = describe_keys("train.warmup_epochs")
    assert shown.startswith(
        "train.warmup_epochs  (whole number or auto, at least 0; default auto)\n"
    )
    assert "learning rate rises from 0" in shown
    assert describe_keys("recipes.paper.train.warmup_epochs") == shown
    assert shown in describe_keys("train")
    assert describe_keys("train") in describe_keys(None)
    assert "edges.low  (number or null, at least 0; default null)" in describe_keys("edges")
    with pytest.raises(UserError, match=r"no key train\.epoch; did you mean train\.epochs\?"):
        describe_keys("train.epoch")
    with pytest.raises(UserError, match=r"no key batch_sise; did you mean train\.batch_size\?"):
        describe_keys("batch_sise")


def test_a_value_is_shown_as_a_dataset_follows_it() -> None:
    content = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    content["datasets"]["scenes"]["overrides"] = {
        "train": {"epochs": 5},
        "edges": {"low": 1.0, "high": 2},
    }
    followed = validate_params(content).for_dataset("scenes")
    assert describe_keys("train.epochs", followed).startswith("train.epochs = 5  (")
    assert describe_keys("edges.low", followed).startswith("edges.low = 1  (")
    for key in key_references():
        assert describe_keys(key.key, followed).startswith(f"{key.key} = ")


@pytest.mark.parametrize("kind", dataset_kinds())
def test_a_kind_of_dataset_is_described(kind: str) -> None:
    assert kind_description(kind)
    assert {"path", "lexicons"} <= {entry.key for entry in kind_reference(kind)}
    entry = YAML(typ="safe").load(example_entry(kind))[f"my_{kind}"]
    assert entry_class(kind).model_validate(entry).kind == kind


def test_a_loss_weight_keeps_its_name_through_every_door() -> None:
    """From params.yaml to the settings, the schedule, the composite loss and its terms."""
    params = load_params(ROOT / "params.yaml")
    written = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    arm = params.recipe_settings.arm_settings("structxlip")
    loss = CompositeLoss(4, **arm.weights)
    arguments = inspect.signature(CompositeLoss).parameters
    for name in STRUCTURAL_LOSSES:
        value = written["recipes"]["frozen"]["arms"]["structxlip"][name]["weight"]
        assert getattr(arm, name).weight == arm.weights[name] == loss.weights[name] == value
        assert name in arguments


@pytest.mark.parametrize("weight", [0, 0.25, 2])
def test_a_number_in_the_place_of_a_loss_is_its_weight(weight: float) -> None:
    short = ArmSettings.model_validate({"edge_text": weight})
    assert short == ArmSettings.model_validate({"edge_text": {"weight": weight}})
    assert short.edge_text.kind == "contrastive"


def test_vanilla_is_the_arm_whose_weights_are_zero() -> None:
    recipe = load_params(ROOT / "params.yaml").recipe_settings
    assert recipe.arm_settings("vanilla") == VANILLA
    assert not VANILLA.is_structural
    assert set(VANILLA.weights.values()) == {0}
    assert recipe.arm_settings("structxlip").is_structural
    assert ArmSettings(edge_text=0, region_chunk=0, edge_image=0) == VANILLA
