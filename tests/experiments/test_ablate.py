"""`ablate`: rows without a part, what they cost, and the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from structxlip import experiments
from structxlip.config import Params
from structxlip.experiments.ablate import IMAGE_ONLY, ablate, ablated, ablation_rows, verdict
from structxlip.experiments.rows import plan
from structxlip.models.cells_encoder import CellsEncoder
from structxlip.training.assembly import assemble
from tests.experiments.test_compare import outcomes
from tests.store import Artifacts
from tests.training.test_loop import change

PARTS = ["no_edge_text", "no_region_chunk", "no_edge_image", "whole_captions"]


@pytest.mark.e2e
def test_every_part_has_its_row_table_and_picture(
    project: Artifacts, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The features of this project are random: no tower made them.
    monkeypatch.delitem(experiments.ablate.BRANCHES, "image_tower")
    ablate(short, "scenes", [0])
    found = json.loads(Path("reports/scenes/ablate.json").read_text())
    rows = ["vanilla", "structxlip", *PARTS, "cue_gradient", "cue_sobel"]
    rows += ["branch_descriptor", IMAGE_ONLY]
    assert list(found["rows"]) == rows
    assert [name for name, row in found["rows"].items() if "cost" not in row] == ["structxlip"]
    table = Path("reports/scenes/ablate.md").read_text()
    assert table.count("\n| ") == 1 + len(rows)
    assert "`structxlip ablate scenes --seeds 1`" in table
    page = Path("reports/scenes/evidence.html").read_text()
    assert "What each part gives" in page
    assert "Is the gain structure" not in page
    assert "without the caption filter" in page
    sobel = pq.read_table(".cache/experiments/scenes/edges-cue-sobel/part-00000.parquet")
    assert set(sobel["cue"].to_pylist()) == {"sobel"}


def test_one_part_is_missing_from_each_row(
    project: Artifacts, short: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(experiments.ablate.BRANCHES, "image_tower")
    planned = {trial.row: trial.run for trial in plan(short, "scenes", ablation_rows(short), [0])}
    whole = assemble(planned["structxlip"])
    weights = whole.loop.local_task.loss.weights
    for loss in ("edge_text", "region_chunk", "edge_image"):
        part = assemble(planned[f"no_{loss}"]).loop.local_task.loss.weights
        assert part == weights | {loss: 0.0}
    rows = whole.batches.epoch(0)[0]
    batches = {
        name: assemble(planned[name]).batches.batch(rows, 0, 0)
        for name in ("structxlip", "whole_captions", "cue_sobel")
    }
    plain = batches["whole_captions"]
    torch.testing.assert_close(plain["structure"], plain["caption"])
    torch.testing.assert_close(plain["edges"], batches["structxlip"]["edges"])
    assert not torch.equal(batches["structxlip"]["structure"], plain["caption"])
    assert batches["cue_sobel"]["edges"].shape != batches["structxlip"]["edges"].shape or (
        not torch.equal(batches["cue_sobel"]["edges"], batches["structxlip"]["edges"])
    )
    descriptor = assemble(planned["branch_descriptor"])
    assert isinstance(descriptor.model.edge_encoder, CellsEncoder)
    cells = descriptor.batches.batch(rows, 0, 0)["edges"]
    assert cells.shape[1:] == (8, 16, 16)


def test_a_loss_that_is_not_used_has_no_row(params: Params) -> None:
    arms = params.recipe_settings.arms
    few = arms.structxlip.with_weights(edge_image=0.0)
    recipe = params.recipe_settings.model_copy(
        update={"arms": arms.model_copy(update={"structxlip": few})}
    )
    two = params.model_copy(update={"recipes": {params.recipe: recipe}})
    assert "no_edge_image" not in ablation_rows(two)
    assert "no_edge_text" in ablation_rows(two)
    sobel = change(params, "edges", cue="sobel")
    cues = {name for name in ablation_rows(sobel) if name.startswith("cue_")}
    assert cues == {"cue_canny", "cue_gradient"}


def test_branches_take_each_others_place(params: Params) -> None:
    def branches(of: Params) -> set[str]:
        rows = {n: row for n, row in ablation_rows(of).items() if n.startswith("branch_")}
        for name, row in rows.items():
            arm = row.change(of.recipe_settings.arms.structxlip)
            assert f"branch_{arm.edge_branch}" == name
            assert (arm.edge_shift_px > 0) == (arm.edge_branch != "image_tower")
        return set(rows)

    assert branches(params) == {"branch_descriptor", "branch_image_tower"}
    outlines = params.model_copy(update={"recipe": "outlines"})
    assert branches(outlines) == {"branch_cnn", "branch_image_tower"}
    assert not any(name.startswith("cue_") for name in ablation_rows(outlines))


def test_the_cost_is_the_gain_of_the_whole_over_the_part() -> None:
    by_row = {
        "vanilla": outcomes(0.8),
        "structxlip": outcomes(3.0),
        "no_edge_text": outcomes(0.8),
        "no_edge_image": outcomes(3.0),
    }
    rows = ablated(by_row, samples=200, seed=0)
    assert rows["no_edge_text"]["cost"]["low"] > 0
    assert rows["no_edge_image"]["cost"] == {"mean": 0, "low": 0, "high": 0}
    assert rows["no_edge_text"]["cost"]["mean"] == pytest.approx(
        rows["structxlip"]["R@1"]["mean"] - rows["no_edge_text"]["R@1"]["mean"]
    )
    labels = {name: name for name in rows}
    said = verdict({"rows": rows, "labels": labels})
    assert "no_edge_text" in said
    assert "no_edge_image" not in said
    equal = ablated(by_row | {"no_edge_text": outcomes(3.0)}, samples=200, seed=0)
    assert "no part costs" in verdict({"rows": equal, "labels": labels})
    assert np.isfinite(rows[IMAGE_ONLY]["R@1"]["mean"])
