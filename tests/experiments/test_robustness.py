"""`robustness`: the models of `compare` on changed test images."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from structxlip.config import Params
from structxlip.data.shards import ShardWriter, pair_schema
from structxlip.evaluation.appearance import CHANGES
from structxlip.experiments import robustness
from structxlip.experiments.compare import ROWS, planned_trials
from structxlip.experiments.robustness import (
    CHANGED,
    COLOUR_COPIES,
    MEAN,
    RECOLOURED,
    ChangedSplit,
    change_split,
    packed,
    summarised,
    table,
    unpacked,
)
from structxlip.experiments.rows import plan
from structxlip.experiments.trials import run_trials
from structxlip.features.store import FeatureStore
from structxlip.models.build import load_model
from structxlip.stages.edges import edges
from tests.conftest import small
from tests.experiments.test_compare import outcomes
from tests.stages.test_features import write_sources
from tests.store import write_artifacts
from tests.training.test_loop import change

VAL, TEST = 4, 8  # pairs of the splits


@pytest.fixture
def project(tmp_path: Path, paper_params: Params, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A project whose pair store holds the very pixels of its feature store."""
    data = tmp_path / "data/scenes"
    data.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store = write_artifacts(data, paper_params.recipe_settings.model).store
    (data / "pairs").mkdir()
    with ShardWriter(data / "pairs", pair_schema(), 2**20) as writer:
        for identifier, split, pixels in zip(store.ids, store.splits, store.image, strict=True):
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "PNG")
            writer.add({"id": identifier, "split": split, "image": file.getvalue()})
    return change(paper_params, epochs=1, warmup_epochs=0, batch_size=14)


@pytest.mark.e2e
def test_a_table_of_all_changes_is_written(
    project: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: CHANGES[name] for name in ("unchanged", "grey", "noise")}
    monkeypatch.setattr(robustness, "CHANGES", few)
    monkeypatch.setattr(robustness, "CHANGED", ["grey", "noise"])
    robustness.robustness(project, "scenes", [0])
    found = json.loads(Path("reports/scenes/robustness.json").read_text())
    assert set(found["rows"]) == {name for name in ROWS if name != "image"}
    columns = [*few, MEAN]
    for row in found["rows"].values():
        assert list(row) == columns
        mean = np.mean([row["grey"]["R@1"], row["noise"]["R@1"]])
        assert row[MEAN]["R@1"] == pytest.approx(mean)
    robust = found["rows_alpha_under_change"]
    for weights in (found["alphas"], found["betas"]):
        assert set(weights["unchanged"]) == set(weights["under_change"]) == set(found["rows"])
    for row, of_row in found["rows"].items():
        if found["alphas"]["unchanged"][row] == found["alphas"]["under_change"][row]:
            assert robust[row] == of_row
    table = Path("reports/scenes/robustness.md").read_text()
    assert table.count("\n| ") == 1 + len(columns)

    # Without a change the test images are those of the comparison.
    trials = planned_trials(project, "scenes", [0])
    kept = run_trials(trials, Path("models/scenes/trials"), "test")
    for trial, outcome in zip(trials, kept, strict=True):
        recall = outcome.scored.ranks().recall((1,))
        assert found["rows"][trial.row]["unchanged"]["R@1"] == pytest.approx(
            (recall["image_to_text/R@1"] + recall["text_to_image/R@1"]) / 2
        )


def test_both_arms_are_trained_on_changed_colours_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = small("frozen", {"image_px": 96})
    write_sources(params, 12)
    edges(params, "scenes")
    trials = plan(params, "scenes", RECOLOURED, [0])
    assert [trial.run.arm for trial in trials] == ["vanilla", "structxlip"]
    stores = [trial.run.store() for trial in trials]
    assert [store.spec.copies for store in stores] == [COLOUR_COPIES, COLOUR_COPIES]
    run_trials(trials, Path("kept"), "test")  # the features fit what is trained
    made = trials[0].run.features.stat().st_mtime_ns
    again = plan(params, "scenes", RECOLOURED, [1])
    assert again[0].run.features.stat().st_mtime_ns == made


def test_arms_of_changed_colours_are_compared_with_each_other() -> None:
    good, bad = ([o.scored.ranks() for o in outcomes(quality)] for quality in (3.0, 0.5))
    ranks = {
        name: {row: bad for row in ROWS} | {"vanilla_colours": bad, "structxlip_colours": good}
        for name in CHANGES
    }
    rows = summarised(ranks, np.arange(60), samples=100, seed=0)
    assert rows["structxlip_colours"][MEAN]["over_vanilla_colours"]["low"] > 0
    assert "over_vanilla_colours" not in rows["structxlip"][MEAN]
    found = {"dataset": "d", "recipe": "r", "seeds": [0], "rows": rows}
    weights = {way: {row: [0.5] for row in rows} for way in ("unchanged", "under_change")}
    found |= {"rows_alpha_under_change": rows, "alphas": weights, "betas": weights}
    shown = table(found)
    assert {len(row) for row in shown.rows} == {len(shown.header)}
    assert sum("colours changed in training" in name for name in shown.header) == 3


def test_changed_images_are_encoded_as_the_stages_encode_them(project: Params) -> None:
    trials = planned_trials(project, "scenes", [0])[:1]
    run_trials(trials, Path("kept"), "test")
    model, pairs = load_model(trials[0].folder(Path("kept"))), Path("data/scenes/pairs")
    store, settings = FeatureStore(Path("data/scenes/features")), project.recipe_settings.edges
    same = change_split("unchanged", "test", pairs, settings, model)
    np.testing.assert_array_equal(same.image, store.image[store.rows("test")])
    inverted = change_split("inverted", "test", pairs, settings, model)
    np.testing.assert_array_equal(inverted.image, 255 - same.image)
    assert same.edges.shape == (TEST, 1, settings.size_px, settings.size_px)
    noisy = change_split("noise", "test", pairs, settings, model)
    np.testing.assert_array_equal(
        noisy.image, change_split("noise", "test", pairs, settings, model).image
    )


def test_each_branch_gets_its_own_input() -> None:
    rng = np.random.default_rng(0)
    test = ChangedSplit(
        "test",
        rng.random((3, 5)).astype(np.float32),
        packed((rng.random((3, 1, 4, 4)) < 0.5).astype(np.float32)),
        packed(rng.random((3, 6, 5)).astype(np.float32)),
    )
    assert (test.edges.dtype, test.grey.dtype) == (np.uint8, np.float16)
    order = np.array([2, 0, 1])
    np.testing.assert_array_equal(test.inputs("image", order), test.image)
    np.testing.assert_array_equal(test.inputs("edges", order) * 255, test.edges)
    np.testing.assert_array_equal(test.inputs("other_edges", order) * 255, test.edges[order])
    np.testing.assert_array_equal(test.inputs("grey", order), test.grey.astype(np.float32))


@given(seed=st.integers(0, 20), cells=st.booleans())
def test_packed_inputs_come_back(seed: int, cells: bool) -> None:
    rng = np.random.default_rng(seed)
    if cells:
        edges = rng.integers(0, 256, (2, 8, 4, 4)).astype(np.float32) / np.float32(255)
    else:
        edges = rng.standard_normal((2, 4, 6)).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(unpacked(packed(edges)), edges)


def test_the_mean_of_the_changes_leaves_out_the_unchanged() -> None:
    good, bad = ([o.scored.ranks() for o in outcomes(quality)] for quality in (3.0, 0.5))
    ranks = {name: {row: good if name == "unchanged" else bad for row in ROWS} for name in CHANGES}
    rows = summarised(ranks, np.arange(60), samples=100, seed=0)
    cells = rows["structxlip"]
    assert cells[MEAN]["R@1"] == pytest.approx(cells[CHANGED[0]]["R@1"])
    assert cells["unchanged"]["R@1"] > cells[MEAN]["R@1"]
    assert cells["grey"]["over_vanilla"]["mean"] == 0
