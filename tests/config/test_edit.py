"""`structxlip activate` and `structxlip recipe` change one thing, and the file stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from structxlip.config import load_params
from structxlip.config.edit import activate_preset, select_recipe
from structxlip.data.sources.flickr import Flickr
from structxlip.errors import UserError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    return Path(shutil.copy(ROOT / "params.yaml", tmp_path))


def test_a_preset_becomes_active_and_every_other_line_stays(
    params_file: Path, tmp_path: Path
) -> None:
    before = params_file.read_text().splitlines()
    activate_preset(params_file, "photos", tmp_path)
    after = params_file.read_text().splitlines()
    photos = load_params(params_file).dataset("photos")
    assert isinstance(photos, Flickr)
    assert photos.path == str(tmp_path)
    added = list(after)
    for line in before:
        added.remove(line)  # comments and layout of what was there are kept
    assert added[0].strip() == "photos:"
    assert len(added) == 8

    activate_preset(params_file, "photos", tmp_path)
    assert params_file.read_text().splitlines() == after


@pytest.mark.parametrize(
    ("preset", "path", "sentence"),
    [
        ("photo", ".", "has no preset 'photo'; did you mean 'photos'?"),
        ("photos", "nowhere", "nowhere does not exist; give the folder or file of the dataset"),
    ],
)
def test_a_mistake_is_one_sentence_and_changes_nothing(
    params_file: Path, preset: str, path: str, sentence: str
) -> None:
    before = params_file.read_bytes()
    with pytest.raises(UserError) as refused:
        activate_preset(params_file, preset, Path(path))
    assert sentence in str(refused.value)
    assert refused.value.exit_code == 2
    assert params_file.read_bytes() == before
    assert list(params_file.parent.iterdir()) == [params_file]


def test_another_recipe_is_one_changed_line(params_file: Path) -> None:
    before = params_file.read_text()
    select_recipe(params_file, "paper")
    params = load_params(params_file)
    assert (
        params.recipe_settings.model.trained,
        params.recipe_settings.arms.structxlip.edge_branch,
    ) == ("all", "image_tower")
    changed = set(params_file.read_text().splitlines()) ^ set(before.splitlines())
    assert changed == {"recipe: frozen", "recipe: paper"}
    select_recipe(params_file, "frozen")
    assert params_file.read_text() == before


def test_an_unknown_recipe_changes_nothing(params_file: Path) -> None:
    before = params_file.read_bytes()
    with pytest.raises(UserError, match=r"unknown recipe 'papr'; did you mean 'paper'\?"):
        select_recipe(params_file, "papr")
    assert params_file.read_bytes() == before


def test_a_recipe_is_selected_for_one_dataset_alone(params_file: Path) -> None:
    before = params_file.read_text()
    select_recipe(params_file, "outlines", "scenes")
    params = load_params(params_file)
    assert (params.recipe, params.for_dataset("scenes").recipe) == ("frozen", "outlines")
    added = set(params_file.read_text().splitlines()) - set(before.splitlines())
    assert added == {"    recipe: outlines"}
    with pytest.raises(UserError, match=r"datasets\.scenes\.recipe: unknown recipe 'outlins'; did"):
        select_recipe(params_file, "outlins", "scenes")
    with pytest.raises(UserError, match="'scnes' is not active"):
        select_recipe(params_file, "paper", "scnes")
    assert load_params(params_file).for_dataset("scenes").recipe == "outlines"
