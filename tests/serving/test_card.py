"""The model card says what was measured, and what was not shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from structxlip.config import Edges, Params
from structxlip.errors import UserError
from structxlip.serving.card import write_card
from structxlip.serving.export import export
from tests.serving.test_embedder import save_model

WAYS = ("image_to_text", "text_to_image")


def recalls(first: float) -> dict[str, float]:
    return {f"{way}/R@{k}": first + k for way in WAYS for k in (1, 5, 10)}


def measured(low: float) -> dict[str, Any]:
    gain = {"R@1": {"mean": 1.5, "low": low, "high": 3.0}}
    return {
        "vanilla": recalls(40.0),
        "structxlip_image_only": recalls(41.0),
        "structxlip": recalls(42.0),
        "delta": gain,
        "delta_image_only": gain,
        "alpha": 0.5,
        "beta": 0.0,
        "validation": {"vanilla": 40.0, "structxlip": 41.0, "structxlip_fused": 41.0},
        "test_pairs": 800,
        "test_captions": 1600,
        "test_pairs_sharing_a_caption": 12,
        "slices": [{"title": "by words", "table": [["from", "to"], ["3", "9"]]}],
    }


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the model and the numbers of a dataset."""
    monkeypatch.chdir(tmp_path)
    for folder in ("models/scenes", "reports/scenes", "data/scenes/pairs"):
        Path(folder).mkdir(parents=True)
    save_model(Path("models/scenes/structxlip"), Edges(size_px=64))
    Path("data/scenes/pairs/report.json").write_text(
        json.dumps(
            {
                "pairs": 4200,
                "captions": 8400,
                "splits": {"train": 3400, "test": 800},
                "quarantined": {"no_caption": 7},
            }
        )
    )
    return tmp_path


@pytest.mark.parametrize("low", [0.5, -0.5])
def test_a_card_has_data_metrics_limits_and_lineage(
    trained: Path, params: Params, low: float
) -> None:
    Path("reports/scenes/comparison.json").write_text(json.dumps(measured(low)))
    file = trained / "README.md"
    write_card(file, params, "scenes", "structxlip", {"commit": "abc123", "pairs": ""})
    card = ModelCard.load(file)
    assert card.data.model_name == "structxlip-scenes"
    values = {result.metric_name: result.metric_value for result in card.data.eval_results}
    assert values["text to image R@5"] == 47.0
    for text in (
        "| train | 3,400 |", "Left out at ingestion: 7 for no_caption", "by words", "| 3 | 9 |",
        f"+1.5 [{low:+.1f}, +3.0]", "12 test images share a caption", "α = 0.5",
        "`packaged:efficientnet-lite0`: Apache-2.0", "| commit | abc123 |",
    ):  # fmt: skip
        assert text in card.text
    assert "| pairs |" not in card.text.split("## Lineage")[1]
    assert ("is not shown" in card.text) == (low < 0)


def test_an_export_is_made_whole_or_not_at_all(trained: Path, params: Params) -> None:
    with pytest.raises(UserError, match=r"comparison.json is missing; run `dvc repro"):
        export(params, "scenes", "hf", trained / "out", {}, "structxlip")
    Path("reports/scenes/comparison.json").write_text(json.dumps(measured(0.5)))
    with pytest.raises(UserError, match="no CLIP of its own; export it --to onnx"):
        export(params, "scenes", "hf", trained / "out", {}, "structxlip")
    assert not (trained / "out").exists()
    with pytest.raises(UserError, match="is not empty; give a new folder"):
        export(params, "scenes", "hf", trained, {}, "structxlip")
