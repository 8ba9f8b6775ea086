"""A recipe takes what it leaves out from another one, and a dataset has settings of its own."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from structxlip.config import validate_params
from structxlip.config.inherit import merged, recipe_content
from structxlip.errors import UserError
from tests.operation import ROOT

CONTENT: dict[str, Any] = YAML(typ="safe").load((ROOT / "params.yaml").read_text())


@pytest.fixture
def content() -> dict[str, Any]:
    return deepcopy(CONTENT)


TREES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=2), st.lists(st.integers(), max_size=2)),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """The values of a tree by their paths; an empty mapping is a value."""
    if not isinstance(tree, dict) or not tree:
        return {path: tree}
    return {p: v for key, value in tree.items() for p, v in leaves(value, (*path, key)).items()}


@given(MAPPINGS, MAPPINGS)
def test_every_value_comes_from_the_change_or_else_from_the_base(
    base: dict[str, Any], change: dict[str, Any]
) -> None:
    found = merged(base, change)
    assert merged(found, change) == found
    assert merged(base, {}) == base
    assert merged({}, change) == change
    for path, value in leaves(change).items():
        node = found
        for key in path:
            node = node[key]
        if value != {} and path and not isinstance(value, int):
            assert node == value
    taken = [path for path in leaves(found) if path not in leaves(change)]
    assert all(path in leaves(base) or path[-1] == "weight" for path in taken)


@pytest.mark.parametrize(
    ("base", "change", "expected"),
    [
        ({"weight": 0.5, "detach": []}, 0.3, {"weight": 0.3, "detach": []}),
        (0.5, {"detach": ["text"]}, {"weight": 0.5, "detach": ["text"]}),
        (0.5, 0.3, 0.3),
        ({"weight": 0.5}, None, None),
        ([1, 2], [3], [3]),
    ],
)
def test_a_number_in_the_place_of_a_loss_is_its_weight_on_either_side(
    base: Any, change: Any, expected: Any
) -> None:
    assert merged(base, change) == expected


def test_a_recipe_takes_what_it_leaves_out_from_the_one_that_it_is_like(
    content: dict[str, Any],
) -> None:
    recipes = content["recipes"]
    recipes["mine"] = {"like": "outlines", "train": {"epochs": 7}}
    recipes["ours"] = {"like": "mine", "arms": {"structxlip": {"edge_text": 0.1}}}
    content["recipe"] = "ours"
    params = validate_params(content)
    outlines, ours = params.recipes["outlines"], params.recipe_settings
    assert (ours.train.epochs, ours.arms.structxlip.edge_text.weight) == (7, 0.1)
    assert ours.edges == outlines.edges
    assert ours.arms.structxlip.region_chunk == outlines.arms.structxlip.region_chunk
    recipes["outlines"]["edges"]["size_px"] = 64
    assert validate_params(content).recipe_settings.edges.size_px == 64


@pytest.mark.parametrize(
    ("entries", "sentence"),
    [
        ({"mine": {"like": "papr"}}, "recipes.mine.like: 'papr' is no recipe; valid are: frozen, "),
        (
            {"mine": {"like": "b"}, "b": {"like": "mine"}},
            "recipes.mine.like: mine is like b is like mine, in a circle",
        ),
        ({"mine": {"like": "mine"}}, "recipes.mine.like: mine is like mine, in a circle"),
        ({"mine": {"like": "frozen", "trian": 1}}, "recipes.mine.trian: unknown key; did you mean"),
        ({"mine": {"like": "frozen", "train": {"epochs": 0}}}, "recipes.mine.train.epochs: input"),
        ({"mine": {"like": "b"}, "b": {"like": "frozen", "train": {"epochs": 0}}},
         "recipes.b.train.epochs: input should be greater"),
        (
            {"mine": {"train": {}}},
            "recipes.mine.edges: is missing (wrong too: recipes.mine.captions, recipes.mine.model, "
            "recipes.mine.arms, recipes.mine.evaluation); add it, or a line such as `like: frozen`",
        ),
        ({"mine": 3}, "recipes.mine: must be a mapping, not 3"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(
    content: dict[str, Any], entries: dict[str, Any], sentence: str
) -> None:
    content["recipes"] |= entries
    assert validate_params(content).recipe == "frozen", "what nothing follows breaks nothing"
    assert "b" not in validate_params(content).recipes
    content["datasets"]["scenes"]["recipe"] = "mine"
    with pytest.raises(UserError) as refused:
        validate_params(content)
    assert str(refused.value).startswith(f"params.yaml: {sentence}")


def test_a_dataset_follows_its_own_recipe_and_overrides(content: dict[str, Any]) -> None:
    content["datasets"]["shoes"] = {"kind": "flickr", "path": "x"} | content["presets"]["photos"]
    content["datasets"]["shoes"] |= {
        "recipe": "outlines",
        "overrides": {
            "ingest": {"near_duplicates": "keep"},
            "train": {"epochs": 9},
            "arms": {"structxlip": {"edge_text": 0.25}},
        },
    }
    params = validate_params(content)
    scenes, shoes = params.for_dataset("scenes"), params.for_dataset("shoes")
    assert scenes.recipe_settings == params.recipe_settings
    assert scenes.ingest == params.ingest
    assert list(shoes.datasets) == ["shoes"]
    assert shoes.ingest == params.ingest.model_copy(update={"near_duplicates": "keep"})
    of_recipe = params.recipes["outlines"].model_dump()
    of_recipe["train"]["epochs"] = 9
    of_recipe["arms"]["structxlip"]["edge_text"]["weight"] = 0.25
    assert shoes.recipe_settings.model_dump() == of_recipe
    assert shoes.for_dataset("shoes") == shoes


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"overrides": {"trian": {}}}, ".overrides.trian: unknown key; did you mean 'train'?"),
        ({"overrides": {"igest": {}}}, ".overrides.igest: unknown key; did you mean 'ingest'?"),
        (
            {"overrides": {"train": {"epoch": 3}}},
            ".overrides.train.epoch: unknown key; did you mean 'epochs'?",
        ),
        ({"overrides": {"train": None}}, ".overrides.train: must be a mapping, not None"),
        ({"overrides": 3}, ".overrides: must be a mapping, not 3"),
        (
            {"overrides": {"edges": {"tower_grid": None}}},
            ".overrides: edge_branch: image_tower with frozen towers needs edges.tower_grid",
        ),
        ({"recipe": "papr"}, ".recipe: unknown recipe 'papr'; did you mean 'paper'?"),
        (
            {"overrides": {"train": {"batch_size": 30}}},
            ".overrides: machine.workers: batch_size 30 of the recipe frozen must be a multiple",
        ),
    ],
)
def test_refused_overrides_name_their_key(
    content: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    content["machine"]["workers"] = 4
    content["datasets"]["scenes"] |= changes
    with pytest.raises(UserError) as refused:
        validate_params(content)
    assert str(refused.value).startswith(f"params.yaml: datasets.scenes{sentence}")


def test_a_recipe_that_is_like_none_stays_as_it_is(content: dict[str, Any]) -> None:
    for name, entry in content["recipes"].items():
        assert recipe_content(content["recipes"], name) == entry
