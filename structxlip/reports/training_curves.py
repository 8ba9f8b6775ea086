"""Observations on the curves of a training: it overfits, still rises, is level, or only guesses."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from structxlip.config import FittedTrain, Params
from structxlip.evaluation.statistics import mean_recall, recall_standard_error

if TYPE_CHECKING:
    import pandas as pd

NOTHING_LEARNED = 0.95  # a loss above this share of the loss of guessing has learned nothing


def observations(
    params: Params, pairs: dict[str, int], histories: dict[str, pd.DataFrame]
) -> list[str]:
    """One sentence for each observation, with its figures.

    Two recalls differ when their difference exceeds the standard error of a share of the validation
    images.

    Args:
        params: of the training.
        pairs: how many pairs the splits ``train`` and ``val`` have.
        histories: of each arm, one row for each epoch.
    """
    train = params.recipe_settings.train.fitted(pairs["train"])
    found = [_curve(arm, train, history, pairs["val"]) for arm, history in histories.items()]
    batch = min(train.batch_size, pairs["train"])
    guesses = guessing(params, batch)
    for arm, history in histories.items():
        for term, guess in guesses.items():
            if term not in _GUESS or term not in history:
                continue
            last = float(history[term].iloc[-1])
            if last >= NOTHING_LEARNED * guess:
                found.append(
                    f"{arm}: {term} ends at {last:.2f}, and {_GUESS[term].format(batch=batch)} "
                    f"gives {guess:.2f}: it has learned nothing."
                )
    return found


# What the value of guessing is, for each structural loss.
_GUESS = {
    "edge_text_loss": "a guess among the {batch:,} of a batch",
    "region_chunk_loss": "a guess among the {batch:,} of a batch",
    "edge_image_loss": "the mean over embeddings that have nothing to do with each other",
}


def guessing(params: Params, batch: int) -> dict[str, float]:
    """The value of each loss for a model that guesses, by the name of its column.

    A contrastive loss over a batch of ``N`` has ``log N``. Independent unit vectors have the
    cosine 0: their squared distance is 2, and one minus the cosine is 1.
    """
    kind = params.recipe_settings.arms.structxlip.edge_image.kind
    contrastive = ("clip_loss", "edge_text_loss", "region_chunk_loss")
    independent = 2.0 if kind == "projected_l2" else 1.0
    return dict.fromkeys(contrastive, math.log(batch)) | {"edge_image_loss": independent}


def information_bounds(
    params: Params, batch: int, histories: dict[str, pd.DataFrame]
) -> list[list[str]]:
    """The bounds on mutual information at the end of the training as rows of text, a header first.

    A contrastive loss ``L`` over a batch of ``N`` shows at least ``log N - L`` nats (van den Oord
    et al., 2018, arXiv 1807.03748), and never more than ``log N``.
    """
    sides = {"clip_loss": "image and caption", "edge_text_loss": "edge map and structural caption"}
    guesses = guessing(params, batch)
    rows = [["arm", "between", "at least, nats", "most that the batch can show"]]
    for arm, history in histories.items():
        for term, words in sides.items():
            if term in history:
                bound = max(0.0, guesses[term] - float(history[term].iloc[-1]))
                rows.append([arm, words, f"{bound:.2f}", f"{guesses[term]:.2f}"])
    return rows


def recall_curve(history: pd.DataFrame) -> list[float]:
    """Mean R@1 of both ways on validation after each epoch, in percent."""
    return [mean_recall(row, prefix="val/") for row in history.to_dict("records")]


def best_epoch(history: pd.DataFrame) -> int:
    """The epoch, counted from 1, with the best mean R@1 on validation; the first of equals."""
    recall = recall_curve(history)
    return recall.index(max(recall)) + 1


def _curve(arm: str, train: FittedTrain, history: pd.DataFrame, images: int) -> str:
    recall, loss = recall_curve(history), history["clip_loss"].tolist()
    epochs, best = len(recall), best_epoch(history)
    top, last = recall[best - 1], recall[-1]
    said = f"{arm}: best on validation at epoch {best} of {epochs}, mean R@1 {top:.1f} %"
    error = recall_standard_error((top + last) / 2, images)
    if top - last > error:
        said += (
            f"; the last is {top - last:.1f} points lower, more than {_error(error, images)}, "
            f"and clip_loss went from {loss[best - 1]:.3g} to {loss[-1]:.3g}"
        )
        if loss[-1] >= loss[best - 1]:
            return f"{said}: training went astray. Lower the learning rate."
        if train.exported == "best":
            return f"{said}: it overfits. Epoch {best} is exported."
        advice = f"train.exported: best takes epoch {best}"
        patience = least_patience(recall, best)
        if best + patience < epochs:
            advice += f", and train.patience: {patience} ends after epoch {best + patience}"
        return f"{said}: it overfits. On this curve {advice}."
    before = recall[-1 - epochs // 2]
    noise = recall_standard_error((before + last) / 2, images)
    if last - before > noise:
        more = "train.epochs" if epochs >= train.epochs else "train.patience"
        return (
            f"{said}; {last - before:.1f} points came in the last {epochs // 2} epochs, "
            f"more than {_error(noise, images)}: still rising. Train longer, with a higher {more}."
        )
    outside = [epoch for epoch, value in enumerate(recall, 1) if top - value > error]
    level = max(outside, default=0) + 1
    return f"{said}; level from epoch {level} on, within {_error(error, images)}."


def least_patience(recall: list[float], best: int) -> int:
    """The smallest ``train.patience`` that reaches the epoch ``best``, counted from 1."""
    records = [e for e in range(1, best + 1) if recall[e - 1] > max(recall[: e - 1], default=-1)]
    return max((b - a for a, b in pairwise(records)), default=1)


def _error(points: float, images: int) -> str:
    return f"the standard error of {points:.1f} points ({images:,} images)"
