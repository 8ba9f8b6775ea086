"""`flatness`: noise of a given relative norm, taken away again, and the loss that it costs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from structxlip.config import Params
from structxlip.experiments import flatness as module
from structxlip.experiments.flatness import NOISE, clip_loss, flatness, noisy_weights, under_noise
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from tests.store import Artifacts


@pytest.fixture
def model(artifacts: Artifacts, params: Params) -> StructXLIP:
    settings = params.recipe_settings.model
    return build_model(settings, artifacts.store, seed=0, edge_branch="cnn").eval()


def test_noise_has_its_norm_and_goes_away(model: StructXLIP) -> None:
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with noisy_weights(model, 0.3, torch.Generator().manual_seed(0)):
        for name, weight in model.named_parameters():
            noise = (weight - before[name]).norm().item()
            untouched = name.startswith("edge_encoder.") or not weight.dim()
            assert noise == pytest.approx(0 if untouched else 0.3 * before[name].norm().item())
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name])


def test_the_loss_is_the_mean_over_full_batches(model: StructXLIP, artifacts: Artifacts) -> None:
    store, values = artifacts.store, []
    for start in (0, 12):  # the last 4 of the 28 training pairs fill no batch
        rows = store.rows("train")[start : start + 12]
        with torch.no_grad():
            images = model.image_features(torch.from_numpy(store.image[rows]))
            texts = model.text_features(
                torch.from_numpy(store.caption[store.caption_offsets[rows]])
            )
            logits = model.logit_scale.exp() * normalize(images) @ normalize(texts).T
        own = torch.arange(12)
        values.append((cross_entropy(logits, own) + cross_entropy(logits.T, own)).item() / 2)
    assert clip_loss(model, store, 12) == pytest.approx(np.mean(values), rel=1e-5)
    assert clip_loss(model, store, 500) == pytest.approx(clip_loss(model, store, 28))


def test_more_noise_costs_more(
    model: StructXLIP, artifacts: Artifacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOISE", (1e-4, 3.0))
    found = under_noise(model, artifacts.store, 14, seed=0)
    assert found["0.0001"]["loss_rise"] == pytest.approx(0, abs=0.01)
    assert found["3"]["loss_rise"] > 0.05
    assert found == under_noise(model, artifacts.store, 14, seed=0)


@pytest.mark.e2e
def test_both_arms_are_measured(project: Artifacts, short: Params) -> None:
    flatness(short, "scenes", [0, 1])
    found = json.loads(Path("reports/scenes/flatness.json").read_text())
    assert set(found["rows"]) == {"vanilla", "structxlip"}
    for cells in found["rows"].values():
        assert list(cells) == [f"{noise:g}" for noise in NOISE]
        assert cells["0.4"]["loss_rise"]["deviation"] is not None
    assert "structxlip flatness scenes --seeds 2" in found["made"]
    assert len(list(Path("models/scenes/trials").glob("*/outcome.npz"))) == 4
