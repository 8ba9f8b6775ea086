"""The training of an arm, and what `auto` means for a number of training pairs."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from structxlip.config.section import NonNegativeFloat, Positive, PositiveFloat, Section
from structxlip.errors import UserError

Auto = Literal["auto"]
# What `auto` takes. Trained on 401 pairs, batches of 256 were one step an epoch, and gave R@1
# 29.7 % where batches of 32 gave 42.4 %.
BATCHES = 12  # of an epoch
LEAST_BATCH, LARGEST_BATCH = 16, 256
FEW_STEPS = 100  # fewer are said before the training
EPOCHS, LEAST_STEPS = 14, 150
CHUNKS, MOST_CHUNKS = 512, 8  # of a batch, and of a caption


class Train(Section):
    """The training of an arm. Every value here changes the trained model."""

    epochs: Positive | Auto = Field(
        "auto",
        description="Passes over the training split. Higher: learns more, and overfits at some "
        "point. The learning rate falls to 0 at the last one. auto: 14, and more where that is "
        "fewer than 150 steps.",
    )
    batch_size: Annotated[int, Field(ge=2)] | Auto = Field(
        "auto",
        description="Pairs in a batch, over all workers. The contrastive losses compare each pair "
        "with all others of its batch. Higher: harder comparisons, fewer steps, more memory. auto: "
        "the power of 2 nearest to a twelfth of the training pairs, from 16 to 256.",
    )
    length_window: Positive = Field(
        1,
        description="Batches within which captions are sorted by length. Higher: less padding and "
        "faster steps, and batches that are less random. 1: no sorting.",
    )
    learning_rate: PositiveFloat = Field(
        1e-3,
        description="Highest learning rate of AdamW. Higher: learns faster, and diverges at some "
        "point. Lower: changes pretrained weights less.",
    )
    clip_learning_rate: PositiveFloat | None = Field(
        None,
        description="Highest learning rate of a trained CLIP, where the edge CNN beside it starts "
        "from random weights and needs another one. Lower: changes the CLIP less. null: "
        "learning_rate.",
    )
    layer_decay: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="Factor on the learning rate from each block of a CLIP to the block before "
        "it. Lower: early blocks change less. 1: one rate for all.",
    )
    weight_decay: NonNegativeFloat = Field(
        0.05, description="Weight decay of AdamW on matrices. Higher: smaller weights."
    )
    warmup_epochs: Annotated[int, Field(ge=0)] | Auto = Field(
        "auto",
        description="Epochs in which the learning rate rises from 0. Higher: a safer start, and "
        "less time at the full rate. auto: a seventh of the epochs.",
    )
    chunks_per_caption: Positive | Auto = Field(
        "auto",
        description="Chunks that each batch draws from a caption. Higher: more local comparisons "
        "and slower steps. auto: 2 in a batch of 256 pairs, and more in a smaller one, up to 8.",
    )
    regions_per_image: Positive = Field(
        4,
        description="Regions of an edge map that enter the region-chunk loss of the kind "
        "`region_chunk`. Higher: more crops through the image tower.",
    )
    region_px: Annotated[int, Field(ge=8, le=1024)] | None = Field(
        None,
        description="Side of the crop of a region, in pixels; a multiple of the patch size. Lower: "
        "faster; 80 px has an eighth of the patches of 224 px. null: image_px.",
    )
    augmentation: Literal["none", "light"] = Field(
        "none",
        description="light: random brightness, and mirrored unless the caption tells left from "
        "right. Both arms get the same.",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="Number format of the model. bf16: half of the memory and faster on recent "
        "hardware, with more rounding. Losses and weights stay fp32.",
    )
    val_images: Positive = Field(
        5000,
        description="Images of the validation split that each epoch is validated on, with their "
        "captions: always the same ones, taken by their ids. Higher: a recall with less chance in "
        "it, and a longer validation.",
    )
    patience: Positive | None = Field(
        None,
        description="Epochs without a better mean R@1 on validation after which training stops. "
        "Lower: stops earlier. null: never.",
    )
    exported: Literal["last", "best"] = Field(
        "last",
        description="Which epoch becomes the model: the last one, or the best one on validation.",
    )
    tuned_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0,
        description="How far the exported weights of a CLIP lie between its first and its trained "
        "weights (WiSE-FT). Lower: keeps more of the zero-shot model. 1: the trained weights.",
    )

    start: Literal["base", "champion"] = Field(
        "base",
        description="What both arms start from. base: the towers, with new heads. champion: the "
        "registered champion as it was when the pairs changed; less is learned anew, and a fault "
        "of a champion lives on.",
    )

    @model_validator(mode="after")
    def _check_warmup(self) -> Train:
        warmup, epochs = self.warmup_epochs, self.epochs
        if warmup != "auto" and epochs != "auto" and warmup >= epochs:
            raise ValueError("warmup_epochs must be below epochs")
        return self

    def fitted(self, pairs: int) -> FittedTrain:
        """The settings for so many training pairs, with a number for each `auto`."""
        found = self.model_dump()
        if self.batch_size == "auto":
            nearest = 2 ** round(math.log2(max(pairs / BATCHES, 1)))
            found["batch_size"] = min(max(nearest, LEAST_BATCH), LARGEST_BATCH, max(pairs, 2))
        batch = found["batch_size"]
        if self.epochs == "auto":
            steps = max(pairs // batch, 1)
            least = 1 if self.warmup_epochs == "auto" else self.warmup_epochs + 1
            found["epochs"] = max(EPOCHS, math.ceil(LEAST_STEPS / steps), least)
        if self.warmup_epochs == "auto":
            found["warmup_epochs"] = round(found["epochs"] / 7)
        if self.chunks_per_caption == "auto":
            found["chunks_per_caption"] = min(max(CHUNKS // batch, 2), MOST_CHUNKS)
        return FittedTrain.model_validate(found)

    def remarks(self, pairs: int) -> list[str]:
        """Sentences for the user before a training on so many pairs: what `auto` takes, and what
        will teach little."""
        fitted = self.fitted(pairs)
        taken = [f"{name} {getattr(fitted, name)}" for name, value in self if value == "auto"]
        found = [f"for {pairs:,} pairs auto takes {', '.join(taken)}"] if taken else []
        batch = fitted.batch_size
        if batch > pairs:
            found.append(
                f"batch_size {batch} is larger than the training split, so a batch has {pairs} "
                f"pairs; set train.batch_size to auto or lower"
            )
        steps = pairs // min(batch, pairs) * fitted.epochs if pairs else 0
        if steps < FEW_STEPS:
            found.append(
                f"there are only {steps} steps in {fitted.epochs} epochs; lower train.batch_size, "
                f"raise train.epochs, or set both to auto"
            )
        return found


class FittedTrain(Train):
    """The training of an arm on a number of pairs: every setting is a number."""

    epochs: Positive
    batch_size: Annotated[int, Field(ge=2)]
    warmup_epochs: Annotated[int, Field(ge=0)]
    chunks_per_caption: Positive


def batch_of(batch_size: int, pairs: int, workers: int) -> int:
    """The pairs of a batch: at most all of the training split.

    Raises ``UserError`` when the workers cannot share it equally.
    """
    batch = min(batch_size, pairs)
    if not batch or batch % workers:
        raise UserError(
            f"{workers} workers cannot share the batch of {batch} pairs that the training split of "
            f"{pairs} allows; set machine.workers to 1"
        )
    return batch
