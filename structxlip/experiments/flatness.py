"""`structxlip flatness`: how much the loss rises when random noise is added to the weights.

A flat minimum, in which the loss rises little, is thought to generalise better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from structxlip.config import Params
from structxlip.evaluation.embedding import embed_split
from structxlip.evaluation.protocol import recall_at_1
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, plan
from structxlip.experiments.summary import about, mean_and_deviation, spread
from structxlip.experiments.tables import Table, publish
from structxlip.experiments.trials import run_trials, trials_of
from structxlip.features.store import FeatureStore
from structxlip.losses import ContrastiveLoss
from structxlip.models.build import load_model
from structxlip.models.structxlip import StructXLIP
from structxlip.reports.pictures import figure

NOISE = (0.05, 0.1, 0.2, 0.4)
DRAWS = 5
BRANCH = "edge_encoder."


def flatness(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Measure both arms of every seed under noise, and publish ``flatness``.

    The models are those of `compare`.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    trials = plan(params, dataset, BOTH_ARMS, seeds)
    run_trials(trials, trials_of(dataset), f"train for flatness {dataset}")
    values: dict[str, dict[str, list[dict[str, float]]]] = {arm: {} for arm in BOTH_ARMS}
    for trial in trials:
        model, store = load_model(trial.folder(trials_of(dataset))), trial.run.store()
        for noise, found in under_noise(
            model, store, trial.run.train.batch_size, trial.run.params.seed
        ).items():
            values[trial.row].setdefault(noise, []).append(found)
    rows = {
        arm: {
            noise: {key: mean_and_deviation([one[key] for one in many]) for key in many[0]}
            for noise, many in cells.items()
        }
        for arm, cells in values.items()
    }
    about_run: dict[str, Any] = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds)}
    measured = about_run | {"rows": rows}
    publish(
        "flatness",
        params,
        measured,
        table=table(measured),
        verdict=verdict(rows),
        figure=figure(lambda axes: _draw(axes[0], rows), 1),
    )


def under_noise(
    model: StructXLIP, store: FeatureStore, batch_size: int, seed: int
) -> dict[str, dict[str, float]]:
    """For each strength of noise the rise of the CLIP loss on the training split, and the fall of
    the mean R@1 on validation in points; means over ``DRAWS`` draws.

    The image alone is measured, without the edge branch.
    """
    loss, recall = clip_loss(model, store, batch_size), _recall(model, store)
    found = {}
    for noise in NOISE:
        rises, falls = [], []
        for draw in range(DRAWS):
            generator = torch.Generator().manual_seed(seed * DRAWS + draw)
            with noisy_weights(model, noise, generator):
                rises.append(clip_loss(model, store, batch_size) - loss)
                falls.append(recall - _recall(model, store))
        found[f"{noise:g}"] = {
            "loss_rise": float(np.mean(rises)),
            "recall_fall": float(np.mean(falls)),
        }
    return found


@contextmanager
def noisy_weights(model: StructXLIP, noise: float, generator: torch.Generator) -> Iterator[None]:
    """Add normal noise to each weight tensor of the image and the text side, then take it away.

    The norm of the noise is ``noise`` times that of the tensor.
    """
    weights = {n: p for n, p in model.named_parameters() if not n.startswith(BRANCH) and p.dim()}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    with torch.no_grad():
        for weight in weights.values():
            drawn = torch.randn(weight.shape, generator=generator)
            weight.add_(noise * weight.norm() * drawn / drawn.norm())
    try:
        yield
    finally:
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(before[name])


@torch.inference_mode()
def clip_loss(model: StructXLIP, store: FeatureStore, batch_size: int) -> float:
    """The mean CLIP loss of full batches of the training split, in the order of the pair store,
    with the first caption of each image, without dropout."""
    loss, values = ContrastiveLoss(), []
    rows = store.rows("train")
    size = min(batch_size, len(rows))
    for start in range(0, len(rows) - size + 1, size):
        block = rows[start : start + size]
        captions = store.caption_offsets[block]
        value = loss(
            model.image_features(torch.from_numpy(store.image[block])),
            model.text_features(torch.from_numpy(store.caption[captions])),
            model.logit_scale.exp(),
            group_ids=torch.from_numpy(store.group_ids[block]),
        )
        values.append(float(value))
    return float(np.mean(values))


def _recall(model: StructXLIP, store: FeatureStore) -> float:
    return recall_at_1(embed_split(model, store, None, "val", 0.0))


def verdict(rows: Mapping[str, Any]) -> str:
    """One sentence: the rise of both arms at the strongest noise."""
    vanilla, structxlip = (rows[arm][f"{NOISE[-1]:g}"]["loss_rise"] for arm in (VANILLA, METHOD))
    return (
        f"noise of {NOISE[-1]:g} times the weights raises the CLIP loss of StructXLIP by "
        f"{spread(structxlip, 3)}, that of vanilla by {spread(vanilla, 3)}"
    )


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``flatness.json`` for readers."""
    columns = [(key, arm) for key in ("loss_rise", "recall_fall") for arm in BOTH_ARMS]
    rows = [
        [
            noise,
            *(
                spread(found["rows"][arm][noise][key], 3 if key == "loss_rise" else 1)
                for key, arm in columns
            ),
        ]
        for noise in found["rows"][VANILLA]
    ]
    words = {"loss_rise": "rise of the loss", "recall_fall": "fall of R@1"}
    return Table(
        f"{about(found)} The rise of the CLIP loss on the training split, and the fall of the mean "
        f"R@1 on validation in points, when noise is added to the weights of the image and the "
        f"text side; mean ± standard deviation over seeds, each the mean of {DRAWS} draws. The "
        f"noise is its norm divided by that of the weights, tensor by tensor.",
        ["noise", *(f"{words[key]}, {BOTH_ARMS[arm].label}" for key, arm in columns)],
        rows,
    )


def _draw(axis: Any, rows: Mapping[str, Any]) -> None:
    for arm, row in BOTH_ARMS.items():
        means = [cell["loss_rise"]["mean"] for cell in rows[arm].values()]
        axis.plot(NOISE, means, marker="o", label=row.label)
    axis.set(xlabel="noise, share of the norm of the weights", ylabel="rise of the CLIP loss")
    axis.legend(frameon=False)
