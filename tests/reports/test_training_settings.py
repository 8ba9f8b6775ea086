"""The settings that the report explains: those with an effect, with true figures."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from structxlip.config import Params
from structxlip.reports.pictures import render
from structxlip.reports.training_settings import Setting, training_settings
from structxlip.training.loop import rate_factor

HISTORY = pd.DataFrame(
    {
        "epoch": [1, 2, 3, 4],
        "clip_loss": [4.0, 3.0, 2.0, 1.0],
        "loss": [5.0, 4.0, 3.0, 4.0],
        "val/image_to_text/R@1": [10.0, 40.0, 30.0, 20.0],
        "val/text_to_image/R@1": [10.0, 20.0, 30.0, 20.0],
    }
)
HISTORIES = {"vanilla": HISTORY, "structxlip": HISTORY[:3]}
OTHERS = ["Structural losses", "Precision", "Epoch that is exported"]
OF_A_CLIP = ["Layer-wise decay", "WiSE-FT", "Augmentation", "Captions of like length"]


def rows(params: Params, pairs: int = 100, **changes: dict[str, Any]) -> dict[str, Setting]:
    """The rows by their names, with changes of sections of the recipe."""
    content = params.model_dump(by_alias=True)
    recipe = content["recipes"][params.recipe]
    for section, values in changes.items():
        part = recipe["arms"] if section == "structxlip" else recipe
        part[section] = part[section] | values
    found = training_settings(Params.model_validate(content), pairs, HISTORIES)
    by_name = {row.what: row for row in found}
    assert len(by_name) == len(found)
    return by_name


def test_frozen_towers_have_what_heads_have(params: Params) -> None:
    found = rows(params)
    assert list(found) == [
        *(
            "Start",
            "Steps",
            "What is trained",
            "Learning rate",
            "Warm-up",
            "Dropout",
            "Weight decay",
        ),
        *("Drawn for each batch", "Edge maps move", *OTHERS),
    ]
    assert found["What is trained"].value == (
        "heads of 16 hidden units; both towers stay as they are; in StructXLIP an edge CNN too"
    )
    assert found["Learning rate"].value == "0.001 at its highest"
    assert "200 times the 5e-06 of the paper" in found["Learning rate"].why
    assert found["Dropout"].value == "none"
    assert rows(params, model={"dropout": 0.3})["Dropout"].value == "30 % of the hidden units"
    assert not rows(params, model={"dropout": 0.6})["Dropout"].change


def test_a_clip_has_what_only_a_clip_has(paper_params: Params) -> None:
    found = rows(paper_params)
    assert list(found) == [
        *(
            "Start",
            "Steps",
            "What is trained",
            "Learning rate",
            "Warm-up",
            *OF_A_CLIP,
            "Weight decay",
        ),
        *("Drawn for each batch", *OTHERS),
    ]
    assert "up to 64 chunks of it against up to 8 regions" in found["Drawn for each batch"].value
    alone = rows(
        paper_params, structxlip={"region_chunk": {"kind": "region_chunk", "weight": 0.0}}
    )["Drawn for each batch"]
    assert (alone.value, alone.keys) == ("a caption of each image", ())
    assert "Captions of like length" not in rows(paper_params, train={"length_window": 1})


def test_every_key_is_one_of_the_recipe(params: Params, paper_params: Params) -> None:
    for chosen in (params, paper_params):
        for row in rows(chosen).values():
            for key in row.keys:
                value: Any = chosen.recipe_settings
                for name in key.split("."):
                    assert name in type(value).model_fields, key
                    value = getattr(value, name)


def test_steps_are_counted(params: Params) -> None:
    steps = rows(params, 100)["Steps"]
    assert steps.value == "100 pairs, 12 in a batch: 8 steps an epoch, 32 in 4 epochs"
    assert steps.why.endswith("4 pairs fill no batch and are left out, others in each epoch.")
    assert steps.change == "batch_size 6: 16 steps an epoch, 5 others."
    assert "left out" not in rows(params, 96)["Steps"].why
    few = rows(params, 7)["Steps"]
    assert few.value == "7 pairs, 7 in a batch: 1 step an epoch, 4 in 4 epochs"


def test_warm_up_is_counted_in_steps(params: Params) -> None:
    warm = rows(params)["Warm-up"]
    assert warm.value == "1 epoch (8 steps), then half a cosine to 0 at epoch 4"
    none = rows(params, train={"warmup_epochs": 0})["Warm-up"]
    assert (none.value, none.change) == (
        "none: half a cosine to 0 at epoch 4",
        "warmup_epochs 1: 8 steps.",
    )


def test_weight_decay_is_what_all_steps_come_to(params: Params) -> None:
    train = {"weight_decay": 0.05, "learning_rate": 0.01, "epochs": 40, "warmup_epochs": 10}
    weight, steps = 1.0, 100 // 12
    for step in range(40 * steps):
        weight -= weight * 0.05 * 0.01 * rate_factor(step / steps, 10, 40)
    decay = rows(params, train=train)["Weight decay"]
    assert f"by {100 * (1 - weight):.2g} %," in decay.why
    assert rows(params, train={"weight_decay": 0.0})["Weight decay"].value == "none"


def test_a_clip_and_an_edge_cnn_have_rates_of_their_own(paper_params: Params) -> None:
    cnn = {"edge_branch": "cnn", "region_chunk": 0.001, "edge_image": 0.001}
    rates = {"clip_learning_rate": 1e-5, "region_px": None}
    both = rows(paper_params, structxlip=cnn, train=rates)
    assert "Learning rate" not in both
    assert (
        both["Learning rates of the parts"].value == "CLIP 1e-05, edge CNN 0.001, at their highest"
    )
    assert "2 times the 5e-06" in both["Learning rates of the parts"].why
    assert "at 100 times that rate" in both["Learning rates of the parts"].why
    assert both["Edge maps move"].value == "not at all"
    alone = rows(paper_params, train={"clip_learning_rate": 5e-6})["Learning rate"]
    assert alone.keys == ("train.clip_learning_rate",)
    assert alone.why == "As in the paper, which changes a pretrained CLIP."


@pytest.mark.parametrize(
    ("trained", "decay", "value"),
    [
        ("all", 1.0, "none: one rate for all blocks"),
        ("all", 0.75, "0.75 a block: 3.2 % of the rate in the first of 12 blocks"),
        ("lora", 0.75, "0.75 a block: 3.2 % of the rate in the first of 12 blocks"),
        (2, 0.75, "0.75 a block: 56 % of the rate in the first of 2 blocks"),
        (1, 0.9, "0.9 a block: 90 % of the rate in the first of 1 block"),
    ],
)
def test_layer_wise_decay_tells_what_the_first_block_has(
    paper_params: Params, trained: str | int, decay: float, value: str
) -> None:
    found = rows(paper_params, model={"trained": trained}, train={"layer_decay": decay})
    assert found["Layer-wise decay"].value == value


@pytest.mark.parametrize(
    ("trained", "value"),
    [
        ("all", "all of the CLIP"),
        ("lora", "low-rank updates of the CLIP, of rank 8, and its projections"),
        (2, "the last 2 blocks of each tower, and the projections"),
    ],
)
def test_what_is_trained_of_a_clip(paper_params: Params, trained: str | int, value: str) -> None:
    assert rows(paper_params, model={"trained": trained})["What is trained"].value == value


def test_augmentation_keeps_sides_true(paper_params: Params) -> None:
    none = rows(paper_params)["Augmentation"]
    assert (none.value, none.why) == ("none", "Each picture comes 4 times as it is.")
    assert "unless the caption says left or right" in none.change
    light = rows(paper_params, train={"augmentation": "light"})["Augmentation"]
    assert light.value == "light: brightness, and mirrored unless the caption says left or right"
    assert not light.change


def test_weights_between_start_and_end_are_told(paper_params: Params) -> None:
    whole = rows(paper_params)["WiSE-FT"]
    assert whole.value == "none: the weights as they were trained"
    part = rows(paper_params, train={"tuned_share": 0.7})["WiSE-FT"]
    assert part.value == "70 % of the way from the first weights to the last"
    assert part.why.endswith("The curves are of the weights before that.")


def test_structural_losses_are_a_share_of_the_loss(params: Params) -> None:
    losses = rows(params)["Structural losses"]
    assert losses.value == "edge-text 0.5, region-chunk 0.1, edge-image 0.05"
    assert "they are 33 %" in losses.why  # of the last epoch of that arm: 1 of 3
    schedule = {"warm": 1, "decay_start": 2, "decay_end": 4, "floor": 0.5}
    edge_text = {"weight": 0.5, "schedule": schedule}
    moved = rows(params, structxlip={"edge_text": edge_text, "region_chunk": 0.0})
    assert moved["Structural losses"].value == (
        "edge-text 0.5, up from 0 to epoch 1, down to 50 % from epoch 2 to 4, edge-image 0.05"
    )


def test_the_exported_epoch_is_the_last_or_the_first_best(params: Params) -> None:
    last = rows(params)["Epoch that is exported"]
    assert last.value == (
        "last: vanilla 4 of 4 (20.0 %), structxlip 3 of 3 (30.0 %); no early stop"
    )
    assert last.change == "exported best: vanilla 2 of 4 (30.0 %), structxlip 2 of 3 (30.0 %)."
    best = rows(params, train={"exported": "best", "patience": 1})["Epoch that is exported"]
    assert best.value.startswith("best: vanilla 2 of 4 (30.0 %), structxlip 2 of 3 (30.0 %);")
    assert best.value.endswith("a stop after 1 epoch without a better R@1")
    assert best.why.endswith("Stopped before epoch 4: structxlip.")


def test_the_page_shows_every_row_and_escapes_it() -> None:
    shown = Setting("Warm-up", ("train.warmup_epochs",), "2 < 3", "10 % of it", "none")
    page = render("training_settings.html.j2", settings=[shown], observations=["best at 50 %"])
    assert "<code>train.warmup_epochs</code>" in page
    for cell in ("<td>2 &lt; 3</td>", "<td>10\u00a0% of it</td>", "<li>best at 50\u00a0%</li>"):
        assert cell in page
