"""`compare`: rows and controls, kept trials, gains with intervals, and an honest verdict."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from structxlip.config import Params
from structxlip.evaluation.embedding import Embeddings, Scorer
from structxlip.evaluation.statistics import bootstrap_delta
from structxlip.experiments import trials
from structxlip.experiments.compare import (
    CONTROLS,
    ROWS,
    averaged,
    compare,
    compared,
    planned_trials,
    verdict,
)
from structxlip.experiments.trials import Outcome, run_trials
from structxlip.models.edge_encoder import EdgeEncoder
from structxlip.models.heads import HeadsOnTowers
from structxlip.models.projection import ProjectionHead
from structxlip.training.assembly import assemble
from tests.features.test_views import write_pairs
from tests.store import Artifacts, write_artifacts

N, DIM = 60, 8


def embeddings(quality: float, seed: int = 0) -> Embeddings:
    """N images and captions that agree more, the higher the quality."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((N, DIM)).astype(np.float32)
    noise = np.random.default_rng(seed + 1).standard_normal((N, DIM)).astype(np.float32)
    texts = quality * images + noise
    unit = [values / np.linalg.norm(values, axis=1, keepdims=True) for values in (images, texts)]
    return Embeddings(unit[0], unit[1], np.arange(N), np.arange(N))


def outcomes(quality: float, seeds: int = 2) -> list[Outcome]:
    found = [embeddings(quality, seed) for seed in range(seeds)]
    return [Outcome(Scorer(0.3), 50.0, one, one) for one in found]


@pytest.mark.e2e
def test_all_rows_are_trained_and_the_table_is_written(
    project: Artifacts, short: Params, capsys: pytest.CaptureFixture[str]
) -> None:
    compare(short, "scenes", [0, 1])
    folder = Path("reports/scenes")
    found = json.loads((folder / "compare.json").read_text())
    assert set(found["rows"]) == {*ROWS, "structxlip_image_only", "two_vanilla"}
    assert found["seeds"] == [0, 1]
    assert found["test_pairs"] == 8
    assert all("structxlip_over" in found["rows"][name] for name in CONTROLS)
    assert len(found["rows"]["grey"]["alpha"]) == 2
    assert found["rows"]["structxlip"]["cpu_s"]["mean"] > 0
    assert "cpu_s" not in found["rows"]["two_vanilla"]
    table = (folder / "compare.md").read_text()
    assert table.count("\n| ") == 1 + len(found["rows"])
    assert found["verdict"] in capsys.readouterr().err
    assert len(list(Path("models/scenes/trials").glob("*/outcome.npz"))) == 2 * len(ROWS)
    assert not list(Path(short.machine.storage).glob("*")), "checkpoints stay"


def test_trials_that_are_done_are_not_trained_again(
    project: Artifacts, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = planned_trials(short, "scenes", [0])[:2]
    first = run_trials(planned, Path("kept"), "test")

    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trials, "run_trial", fail)
    again = run_trials(planned, Path("kept"), "test")
    for one, other in zip(first, again, strict=True):
        assert one.scorer == other.scorer
        np.testing.assert_array_equal(one.scored.images, other.scored.images)
        np.testing.assert_array_equal(one.scored.texts, other.scored.texts)
    with pytest.raises(AssertionError, match="trained again"):
        run_trials(planned_trials(short, "scenes", [1])[:1], Path("kept"), "test")


def test_other_pictures_and_other_scorers_are_measured_anew(
    project: Artifacts, short: Params
) -> None:
    def grey(params: Params) -> Path | None:
        return next(
            t.run for t in planned_trials(params, "scenes", [0]) if t.row == "grey"
        ).pictures

    before, kept = grey(short), planned_trials(short, "scenes", [0])[1].folder(Path("kept"))
    shutil.rmtree("data/scenes/pairs")
    write_pairs(Path("data/scenes/pairs"), project.store.ids.tolist(), first=1)
    after = grey(short)
    assert before is not None
    assert after is not None
    assert before != after
    assert not np.array_equal(np.load(before), np.load(after))

    recipe = short.recipe_settings
    for weights in ("alphas", "betas"):
        tried = recipe.evaluation.model_copy(update={weights: [0.0, 0.25]})
        changed = recipe.model_copy(update={"evaluation": tried})
        other = short.model_copy(update={"recipes": {short.recipe: changed}})
        assert planned_trials(other, "scenes", [0])[1].folder(Path("kept")) != kept


def test_rows_differ_in_the_input_of_the_second_branch_alone(
    project: Artifacts, short: Params
) -> None:
    planned = {trial.row: trial.run for trial in planned_trials(short, "scenes", [3])}
    assert list(planned) == list(ROWS)
    assert len({run.name for run in planned.values()}) == len(ROWS)
    assert {run.params.seed for run in planned.values()} == {3}
    made = {row: assemble(run) for row, run in planned.items()}
    rows = made["vanilla"].batches.epoch(0)[0]
    batches = {row: training.batches.batch(rows, 0, 0) for row, training in made.items()}
    for row, training in made.items():
        assert isinstance(training.model, HeadsOnTowers)
        kinds = {"vanilla": type(None), "image": ProjectionHead}
        assert isinstance(training.model.edge_encoder, kinds.get(row, EdgeEncoder))
        for name in ("image", "caption", "group_ids"):
            torch.testing.assert_close(batches[row][name], batches["vanilla"][name])
        for head in ("image_head", "text_head"):
            start = getattr(made["vanilla"].model, head).state_dict()
            torch.testing.assert_close(getattr(training.model, head).state_dict(), start)
    image = batches["image"]
    torch.testing.assert_close(image["edges"], image["image"])
    torch.testing.assert_close(image["structure"], image["caption"])
    weights = made["image"].loop.local_task.loss.weights
    assert weights["edge_text"] > 0 == weights["region_chunk"] == weights["edge_image"]
    second = made["image"].model.edge_encoder
    assert isinstance(second, ProjectionHead)
    train = project.store.rows("train")
    np.testing.assert_allclose(second.mean, project.store.image[train].mean(axis=0), atol=1e-6)


def test_a_model_that_is_trained_whole_has_no_second_head(
    tmp_path: Path, paper_params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data/scenes"
    data.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = write_artifacts(data, paper_params.recipe_settings.model)
    write_pairs(data / "pairs", found.store.ids.tolist())
    planned = [trial.row for trial in planned_trials(paper_params, "scenes", [0])]
    assert planned == [name for name in ROWS if name != "image"]


def test_averaged_scores_are_the_means_of_two_models() -> None:
    one, other = embeddings(1.0), embeddings(2.0, seed=5)
    both = averaged(one, other)
    wanted = (one.images @ one.texts.T + other.images @ other.texts.T) / 2
    np.testing.assert_allclose(both.images @ both.texts.T, wanted, atol=1e-6)


def test_gains_over_seeds_are_means_of_the_gains_of_each() -> None:
    worse, better = outcomes(0.8, 3), outcomes(1.6, 3)
    before, after = ([o.scored.ranks() for o in found] for found in (worse, better))
    captions = worse[0].scored.text_to_image
    found = bootstrap_delta(before, after, captions, samples=200, seed=4)
    single = [
        bootstrap_delta(b, a, captions, samples=200, seed=4)
        for b, a in zip(before, after, strict=True)
    ]
    for name, gain in found.items():
        assert gain["mean"] == pytest.approx(np.mean([one[name]["mean"] for one in single]))
        widths = [one[name]["high"] - one[name]["low"] for one in single]
        assert gain["high"] - gain["low"] <= np.mean(widths) + 1e-9
    once = bootstrap_delta(before[0], after[0], captions, samples=200, seed=4)
    assert once == single[0]


@pytest.mark.parametrize(
    ("qualities", "said"),
    [
        ({"structxlip": 3.0}, "the gain is structure's"),
        ({"structxlip": 3.0, "grey": 3.0}, "not shown to be structure's.*: the grey picture"),
        ({}, "no difference is shown"),
        ({"structxlip": 0.3}, "worse than vanilla"),
    ],
)
def test_the_verdict_follows_from_the_intervals(qualities: dict[str, float], said: str) -> None:
    by_row = {name: outcomes(qualities.get(name, 0.8)) for name in ROWS}
    found = compared(by_row, samples=200, seed=0)
    assert re.search(said, verdict(found["rows"]))
    over = found["rows"]["structxlip"]["over_vanilla"]
    assert over["low"] <= over["mean"] <= over["high"]


def test_one_seed_has_no_deviation_and_no_average() -> None:
    found = compared({name: outcomes(1.0, 1) for name in ROWS}, samples=200, seed=0)
    assert "two_vanilla" not in found["rows"]
    assert found["rows"]["vanilla"]["R@1"]["deviation"] is None
