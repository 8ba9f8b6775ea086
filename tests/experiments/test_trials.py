"""Trials: what a choice may see, and what a share of the training pairs is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from structxlip.config import Params
from structxlip.experiments.compare import planned_trials
from structxlip.experiments.rows import BOTH_ARMS, plan
from structxlip.experiments.trials import run_trials
from structxlip.features.store import FeatureStore
from tests.store import Artifacts


def test_no_choice_depends_on_the_test_split(project: Artifacts, short: Params) -> None:
    """With other test images and captions, weights, α and validation are the same, to the bit."""

    def measure(folder: Path) -> list[tuple[float, float, dict[str, np.ndarray], np.ndarray]]:
        trials = planned_trials(short, "scenes", [0])
        outcomes = run_trials(trials, folder, "test")
        weights = [load_file(trial.folder(folder) / "model.safetensors") for trial in trials]
        return [
            (one.scorer, one.validation, state, one.scored.images)
            for one, state in zip(outcomes, weights, strict=True)
        ]

    before = measure(Path("before"))
    store = project.store
    rows = store.rows("test")
    captions, _ = store.captions_of(rows)
    for name, changed in (("image", rows), ("caption", captions), ("structure", captions)):
        array = np.load(project.features / f"{name}.npy", mmap_mode="r+")
        array[changed] = np.random.default_rng(1).standard_normal(array[changed].shape)
        array.flush()
    for one, other in zip(before, measure(Path("after")), strict=True):
        assert one[:2] == other[:2]
        np.testing.assert_equal(one[2], other[2])
        assert not np.array_equal(one[3], other[3])


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 0.9])
def test_a_share_of_the_training_pairs_is_a_part_of_a_larger_one(
    artifacts: Artifacts, share: float
) -> None:
    whole = FeatureStore(artifacts.features)
    found, larger = (FeatureStore(artifacts.features, part) for part in (share, share + 0.05))
    assert len(found.rows("train")) == int(np.ceil(share * len(whole.rows("train"))))
    assert set(found.rows("train")) <= set(larger.rows("train")) <= set(whole.rows("train"))
    assert (np.diff(found.rows("train")) > 0).all()
    for split in ("val", "test"):
        np.testing.assert_array_equal(found.rows(split), whole.rows(split))


def test_a_share_is_trained_on_alone_and_named_apart(project: Artifacts, short: Params) -> None:
    whole, _ = plan(short, "scenes", BOTH_ARMS, [0])
    half = BOTH_ARMS["vanilla"].__class__("half", "vanilla", train_share=0.5)
    (part,) = plan(short, "scenes", {"half": half}, [0])
    assert part.run.name != whole.run.name
    outcomes = run_trials([whole, part], Path("kept"), "test")
    weights = [load_file(t.folder(Path("kept")) / "model.safetensors") for t in (whole, part)]
    rows = FeatureStore(project.features, 0.5).rows("train")
    mean = project.store.image[rows].mean(axis=0)
    np.testing.assert_allclose(weights[1]["image_head.mean"], mean, atol=1e-6)
    assert not np.allclose(weights[0]["image_head.mean"], mean, atol=1e-6)
    assert len(outcomes[0].scored.images) == len(outcomes[1].scored.images)
    assert json.dumps(part.run.params.model_dump(mode="json")) == json.dumps(
        whole.run.params.model_dump(mode="json")
    )
