"""The training of a model in words: each setting, its effect, and a change for small data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from structxlip.config import ArmSettings, FittedTrain, Model, Params
from structxlip.config.arms import LossSettings
from structxlip.reports.training_curves import best_epoch, recall_curve

if TYPE_CHECKING:
    import pandas as pd

PUBLISHED_RATE = 5e-6  # at which the paper fine-tunes a pretrained CLIP
BLOCKS, WIDTH = 12, 768  # of the image tower of a ViT-B
COMMON = "First blocks hold what all pictures and texts share"


@dataclass(frozen=True)
class Setting:
    """A row of the report.

    Attributes:
        what: the name of the setting.
        keys: of the recipe, from which it follows.
        value: in words.
        why: its effect.
        change: what to try where the data is small or the model overfits.
    """

    what: str
    keys: tuple[str, ...]
    value: str
    why: str
    change: str = ""


def training_settings(
    params: Params, pairs: int, histories: dict[str, pd.DataFrame], start: str = "the base"
) -> list[Setting]:
    """The settings of the selected recipe that have an effect.

    Args:
        params: of the training.
        pairs: of the training split.
        histories: of each arm, one row for each epoch.
        start: what both arms started from, in words.
    """
    model, train = params.recipe_settings.model, params.recipe_settings.train.fitted(pairs)
    arm = params.recipe_settings.arms.structxlip
    cnn = arm.is_structural and arm.edge_branch in ("cnn", "descriptor")
    steps = pairs // min(train.batch_size, pairs)
    return [
        _start(start),
        _steps(train, pairs),
        _trained(model, cnn=cnn),
        _rates(model, train, cnn=cnn),
        _warmup(train, steps),
        *([_dropout(model)] if model.frozen else _of_a_clip(model, train, steps)),
        _weight_decay(train, steps),
        _drawn(train, arm),
        *([_edge_shift(arm)] if cnn or arm.edge_shift_px else []),
        _weights(arm, histories["structxlip"]),
        _precision(train),
        _exported(train, histories),
    ]


def _many(count: int, what: str, plural: str = "") -> str:
    return f"{count:,} {what if count == 1 else plural or what + 's'}"


def _percent(share: float) -> str:
    return f"{100 * share:.{1 if share < 0.1 else 0}f} %"


def _start(start: str) -> Setting:
    return Setting(
        "Start",
        ("train.start",),
        f"both arms start from {start}",
        "Starting from the champion keeps what it learned, its faults too",
    )


def _steps(train: FittedTrain, pairs: int) -> Setting:
    batch = min(train.batch_size, pairs)
    steps, rest, half = pairs // batch, pairs % batch, max(batch // 2, 1)
    return Setting(
        "Steps",
        ("train.epochs", "train.batch_size"),
        f"{pairs:,} pairs, {batch:,} in a batch: {_many(steps, 'step')} an epoch, "
        f"{steps * train.epochs:,} in {_many(train.epochs, 'epoch')}",
        f"Each pair is told from the {batch - 1:,} others of its batch."
        + (
            f" {rest:,} pairs fill no batch and are left out, others in each epoch." if rest else ""
        ),
        f"batch_size {half:,}: {_many(pairs // half, 'step')} an epoch, {half - 1:,} others.",
    )


def _trained(model: Model, *, cnn: bool) -> Setting:
    keys: tuple[str, ...] = ("model.trained",)
    rank = model.lora_rank
    if model.frozen:
        keys += ("model.hidden_dim",)
        value = f"heads of {model.hidden_dim:,} hidden units; both towers stay as they are"
        why = "Small data cannot spoil what frozen towers know."
        change = f"hidden_dim {max(model.hidden_dim // 2, 1)}: heads of half the size."
    elif model.trained == "all":
        value = "all of the CLIP"
        why = "Most can be learnt so, and most forgotten."
        change = (
            f"trained lora: updates of {_percent(2 * rank / WIDTH)} of the size of a matrix of "
            f"{WIDTH} × {WIDTH}; trained 2: the last 2 blocks of each tower alone."
        )
    elif model.trained == "lora":
        keys += ("model.lora_rank",)
        value = f"low-rank updates of the CLIP, of rank {rank}, and its projections"
        why = (
            f"They have {_percent(2 * rank / WIDTH)} of the size of a matrix of {WIDTH} × {WIDTH}."
        )
        change = f"lora_rank {rank // 2}: {_percent(2 * (rank // 2) / WIDTH)}." if rank > 1 else ""
    else:
        value = f"the last {_many(int(model.trained), 'block')} of each tower, and the projections"
        why = f"{COMMON}, and stay as they are."
        change = "trained 1: the last block alone." if model.trained != 1 else ""
    beside = "; in StructXLIP an edge CNN too" if cnn else ""
    return Setting("What is trained", keys, value + beside, why, change)


def _rates(model: Model, train: FittedTrain, *, cnn: bool) -> Setting:
    rate, of_clip = train.learning_rate, train.clip_learning_rate or train.learning_rate
    paper = f"{of_clip / PUBLISHED_RATE:,.3g} times the {PUBLISHED_RATE:g} of the paper"
    if of_clip == PUBLISHED_RATE:
        paper = "As in the paper"
    if model.frozen:
        paper = f"Heads start from nothing: {paper}"
    paper += ", which changes a pretrained CLIP."
    if not model.frozen and cnn:
        return Setting(
            "Learning rates of the parts",
            ("train.clip_learning_rate", "train.learning_rate"),
            f"CLIP {of_clip:g}, edge CNN {rate:g}, at their highest",
            f"{paper} The edge CNN starts from nothing, at {rate / of_clip:,.3g} times that rate.",
        )
    key = "train.clip_learning_rate" if train.clip_learning_rate else "train.learning_rate"
    return Setting("Learning rate", (key,), f"{of_clip:g} at its highest", paper)


def _warmup(train: FittedTrain, steps: int) -> Setting:
    epochs, count = train.warmup_epochs, train.warmup_epochs * steps
    falls = f"half a cosine to 0 at epoch {train.epochs}"
    value, change = f"none: {falls}", f"warmup_epochs 1: {_many(steps, 'step')}."
    if epochs:
        value = f"{_many(epochs, 'epoch')} ({_many(count, 'step')}), then {falls}"
        change = f"With half of the pairs it would be {_many(count // 2, 'step')}."
    return Setting(
        "Warm-up",
        ("train.warmup_epochs",),
        value,
        "The first steps of AdamW go by the gradients of few batches; small ones do less harm.",
        change,
    )


def _dropout(model: Model) -> Setting:
    return Setting(
        "Dropout",
        ("model.dropout",),
        f"{_percent(model.dropout)} of the hidden units" if model.dropout else "none",
        "No unit can rely on another one. Both arms drop the same units in each step.",
        f"dropout 0.5: half of the {model.hidden_dim:,} units." if model.dropout < 0.5 else "",
    )


def _of_a_clip(model: Model, train: FittedTrain, steps: int) -> list[Setting]:
    """The settings that only a trained CLIP has."""
    rows = [_layer_decay(train.layer_decay, model.trained)]
    share = train.tuned_share
    rows.append(
        Setting(
            "WiSE-FT",
            ("train.tuned_share",),
            f"{_percent(share)} of the way from the first weights to the last"
            if share < 1
            else "none: the weights as they were trained",
            "Weights in between keep more of what the first ones know of other pictures (Wortsman "
            "et al., 2022)." + (" The curves are of the weights before that." if share < 1 else ""),
            f"tuned_share {share / 2:.2g}: {_percent(share / 2)} of the way.",
        )
    )
    rows.append(_augmentation(train))
    if train.length_window > 1:
        window = _many(min(train.length_window, steps), "batch", "batches")
        rows.append(
            Setting(
                "Captions of like length",
                ("train.length_window",),
                f"together, sorted within {window} of the {steps:,} of an epoch",
                "There is less padding, and each caption is told from others of its length.",
                "length_window 1: all at random.",
            )
        )
    return rows


def _augmentation(train: FittedTrain) -> Setting:
    light = "brightness, and mirrored unless the caption says left or right"
    value, why = f"light: {light}", "A mirrored picture makes a caption untrue that names a side."
    change = ""
    if train.augmentation == "none":
        value, why = "none", f"Each picture comes {_many(train.epochs, 'time')} as it is."
        change = f"augmentation light: {light}."
    return Setting("Augmentation", ("train.augmentation",), value, why, change)


def _layer_decay(decay: float, trained: str | int) -> Setting:
    blocks = BLOCKS if isinstance(trained, str) else trained

    def first(decay: float) -> str:
        return f"{_percent(decay**blocks)} of the rate in the first of {_many(blocks, 'block')}"

    lower = round(decay - 0.1, 3) if decay > 0.2 else decay / 2
    return Setting(
        "Layer-wise decay",
        ("train.layer_decay",),
        f"{decay:g} a block: {first(decay)}" if decay < 1 else "none: one rate for all blocks",
        f"{COMMON}; little data should change it least.",
        f"layer_decay {lower:g}: {first(lower)}.",
    )


def _weight_decay(train: FittedTrain, steps: int) -> Setting:
    decay, rate = train.weight_decay, train.clip_learning_rate or train.learning_rate
    # Warm-up and cosine both have half of the highest rate in the mean.
    pull = rate * steps * train.epochs / 2
    if not decay:
        return Setting("Weight decay", ("train.weight_decay",), "none", "No weight shrinks.")
    return Setting(
        "Weight decay",
        ("train.weight_decay",),
        f"{decay:g} on matrices and convolutions",
        f"All steps together shrink a weight that no gradient moves by {_shrunk(pull * decay)}, at "
        f"the rate {rate:g}.",
        f"weight_decay {10 * decay:g}: by {_shrunk(10 * pull * decay)}.",
    )


def _shrunk(pull: float) -> str:
    return f"{-100 * math.expm1(-pull):.2g} %"


def _drawn(train: FittedTrain, arm: ArmSettings) -> Setting:
    keys: tuple[str, ...] = ()
    value = "a caption of each image"
    if arm.region_chunk.weight:
        keys += ("train.chunks_per_caption",)
        value += f", up to {_many(train.chunks_per_caption, 'chunk')} of it"
        if arm.needs_regions:
            keys += ("train.regions_per_image",)
            value += f" against up to {_many(train.regions_per_image, 'region')} of the edge map"
    return Setting(
        "Drawn for each batch",
        keys,
        value,
        f"Where there are more of them, each of {_many(train.epochs, 'epoch')} has others, and "
        f"both arms have the same.",
    )


def _edge_shift(arm: ArmSettings) -> Setting:
    most = arm.edge_shift_px

    def places(most: int) -> str:
        return f"{(2 * most + 1) ** 2:,} places"

    return Setting(
        "Edge maps move",
        ("arms.structxlip.edge_shift_px",),
        f"by up to {_many(most, 'pixel')} each way: {places(most)}" if most else "not at all",
        "An edge encoder learns maps by heart that never move.",
        f"edge_shift_px {2 * most or 4}: {places(2 * most or 4)}.",
    )


def _weights(arm: ArmSettings, history: pd.DataFrame) -> Setting:
    used = [(name, loss) for name, loss in arm.structural.items() if arm.weights[name]]
    value = ", ".join(_loss(name, arm.weights[name], loss) for name, loss in used) or "none"
    last = history.iloc[-1]
    share = 1 - last["clip_loss"] / last["loss"]
    return Setting(
        "Structural losses",
        tuple(f"arms.structxlip.{name}" for name in ("edge_text", "region_chunk", "edge_image")),
        value,
        f"Of the loss of the last epoch they are {_percent(share)}; the CLIP loss has weight 1.",
    )


def _loss(name: str, weight: float, loss: LossSettings) -> str:
    """The weight of a loss, and how it changes."""
    value, schedule = f"{name.replace('_', '-')} {weight:g}", loss.schedule
    if schedule.warm:
        value += f", up from 0 to epoch {schedule.warm:g}"
    if schedule.decay_end is not None:
        value += (
            f", down to {_percent(schedule.floor)} from epoch {schedule.decay_start:g} to "
            f"{schedule.decay_end:g}"
        )
    return value


def _precision(train: FittedTrain) -> Setting:
    half = train.precision == "bf16"
    return Setting(
        "Precision",
        ("train.precision",),
        "bf16; losses and weights fp32" if half else "fp32",
        "bf16 takes 2 bytes for a number where fp32 takes 4.",
    )


def _exported(train: FittedTrain, histories: dict[str, pd.DataFrame]) -> Setting:
    best = {arm: best_epoch(history) for arm, history in histories.items()}
    last = {arm: len(history) for arm, history in histories.items()}

    def shown(epochs: dict[str, int]) -> str:
        return ", ".join(
            f"{arm} {epoch} of {last[arm]} ({recall_curve(histories[arm])[epoch - 1]:.1f} %)"
            for arm, epoch in epochs.items()
        )

    value, why = f"last: {shown(last)}", "The learning rate comes down to 0 with the epochs."
    change = f"exported best: {shown(best)}."
    if train.exported == "best":
        value, change = f"best: {shown(best)}", ""
        why = "By R@1 on validation, the mean of both ways; the first of equals."
    stop = "no early stop"
    if train.patience:
        stop = f"a stop after {_many(train.patience, 'epoch')} without a better R@1"
        short = [arm for arm, epochs in last.items() if epochs < train.epochs]
        why += f" Stopped before epoch {train.epochs}: {', '.join(short) or 'none'}."
    keys = ("train.exported", "train.patience")
    return Setting("Epoch that is exported", keys, f"{value}; {stop}", why, change)
