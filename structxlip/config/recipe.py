"""A recipe: how a model is made and measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from structxlip.config.section import Fraction, Positive, Section


class Edges(Section):
    cue: str = "canny"
    weights: str | None = None
    size_px: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    blur_sigma: Annotated[float, Field(ge=0)] = 1.0
    low: Annotated[float, Field(ge=0)] | None = None
    high: Annotated[float, Field(ge=0)] | None = None
    min_density: Fraction = 0.005
    max_density: Fraction = 0.5
    max_regions: Annotated[int, Field(ge=0, le=64)] = 8
    own_boxes: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Edges:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are given together, or both null")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.min_density >= self.max_density:
            raise ValueError("min_density must be below max_density")
        return self


class Captions(Section):
    language_model: str = "en_core_web_sm"
    lexicons: list[str] = Field(default_factory=lambda: ["general"], min_length=1)
    method: Literal["parse", "lexicon"] = "parse"
    mode: Literal["drop", "mask", "downweight"] = "drop"
    mask_word: Annotated[str, Field(min_length=1)] = "[MASK]"
    downweight: Fraction = 0.25
    chunks: Literal["phrases", "windows"] = "phrases"
    max_chunks: Annotated[int, Field(ge=1, le=64)] = 32


HEADS = ("embed_dim", "hidden_dim", "dropout")  # what only heads on frozen towers have
# And of `train`, what only a CLIP has that is trained itself.
OF_A_CLIP = (
    "clip_learning_rate",
    "layer_decay",
    "length_window",
    "augmentation",
    "tuned_share",
)


class Model(Section):
    image_tower: Annotated[str, Field(pattern=r"^(packaged|timm|open_clip|hf):.+$")]
    text_tower: Annotated[str, Field(pattern=r"^(packaged|open_clip|hf):.+$")]
    image_px: Annotated[int, Field(ge=32, le=1024)]
    # The keys that DVC watches by name have no defaults: all of them are in the file.
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None
    trained: Literal["heads", "lora", "all"] | Positive
    lora_rank: Positive = 8
    embed_dim: Positive = 256
    hidden_dim: Positive = 512
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3

    @model_validator(mode="after")
    def _one_clip(self) -> Model:
        if not self.frozen and (
            self.image_tower != self.text_tower
            or not self.image_tower.startswith(("open_clip:", "hf:"))
        ):
            raise ValueError(
                f"trained {self.trained} needs one CLIP model as both towers, such as "
                f"open_clip:ViT-B-16-quickgelu/openai"
            )
        return self

    @property
    def frozen(self) -> bool:
        """Whether both towers stay as they are."""
        return self.trained == "heads"

    def changes(self, name: str) -> bool:
        """Whether a value is another one than the default."""
        return bool(getattr(self, name) != type(self).model_fields[name].default)

    def encoders(self) -> dict[str, Any]:
        """What the cached inputs of training depend on."""
        names = {"image_tower", "text_tower", "image_px", "max_tokens"}
        return self.model_dump(include=names) | {"frozen": self.frozen}


class Train(Section):
    """How an arm is trained: everything that changes what comes out."""

    epochs: Positive = 14
    batch_size: Annotated[int, Field(ge=2)] = 256
    length_window: Positive = 1
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    clip_learning_rate: Annotated[float, Field(gt=0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_epochs: Annotated[int, Field(ge=0)] = 2
    chunks_per_caption: Positive = 4
    regions_per_image: Positive = 4
    region_px: Annotated[int, Field(ge=8, le=1024)] | None = None
    augmentation: Literal["none", "light"] = "none"
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: Positive | None = None
    exported: Literal["last", "best"] = "last"
    tuned_share: Annotated[float, Field(gt=0, le=1)] = 1.0

    @model_validator(mode="after")
    def _possible(self) -> Train:
        if self.warmup_epochs >= self.epochs:
            raise ValueError("warmup_epochs must be below epochs")
        return self


class Floors(Section):
    """The share of each weight that is left at the end of a decay."""

    edge_text: Fraction = 1.0
    region_chunk: Fraction = 1.0
    edge_image: Fraction = 1.0


class Schedule(Section):
    """How the loss weights move over the epochs; see ``structxlip.losses.weight_schedule``."""

    warm: Annotated[float, Field(ge=0)] = 0
    decay_start: Annotated[float, Field(ge=0)] | None = None
    decay_end: Annotated[float, Field(gt=0)] | None = None
    floors: Floors = Floors()

    @model_validator(mode="after")
    def _ordered(self) -> Schedule:
        if (self.decay_start is None) != (self.decay_end is None):
            raise ValueError("decay_start and decay_end are given together, or both null")
        if self.decay_start is not None and self.decay_end is not None:
            if not self.warm <= self.decay_start < self.decay_end:
                raise ValueError("needs warm <= decay_start < decay_end")
        elif self.floors != Floors():
            raise ValueError("floors have no effect without decay_start and decay_end")
        return self


class StructuralLosses(Section):
    """What the structxlip arm adds: which losses, their weights and temperatures, and edge maps
    that move by up to ``edge_shift_px`` pixels."""

    losses: Literal["seed", "paper"] = "seed"
    edge_text: Annotated[float, Field(ge=0)] = 0.5
    region_chunk: Annotated[float, Field(ge=0)] = 0.1
    edge_image: Annotated[float, Field(ge=0)] = 0.05
    attention_temperature: Annotated[float, Field(gt=0)] = 0.1
    # Of the region-chunk loss; null: 0.07 for `seed`, and for `paper` 1: there it divides the logit
    # scale, the result ends at 100, and a pretrained scale is 100 already.
    temperature: Annotated[float, Field(gt=0)] | None = None
    edge_shift_px: Annotated[int, Field(ge=0)] = 0
    schedule: Schedule = Schedule()


class Vanilla(Section):
    """Plain CLIP fine-tuning adds nothing."""


class Arms(Section):
    vanilla: Vanilla
    structxlip: StructuralLosses


class Evaluation(Section):
    alphas: list[Annotated[float, Field(ge=0)]] = Field(default_factory=lambda: [0.0], min_length=1)
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000

    @model_validator(mode="after")
    def _plain_clip(self) -> Evaluation:
        if 0.0 not in self.alphas:
            raise ValueError("alphas must hold 0.0, which is plain CLIP")
        return self


class Recipe(Section):
    """How a model is made and measured: everything but the data."""

    edges: Edges
    captions: Captions
    model: Model
    train: Train
    arms: Arms
    evaluation: Evaluation

    @model_validator(mode="after")
    def _possible(self) -> Recipe:
        if self.arms.structxlip.edge_shift_px >= self.edges.size_px:
            raise ValueError("arms.structxlip.edge_shift_px must be below edges.size_px")
        if not self.model.frozen:
            if self.captions.mode == "downweight":
                raise ValueError(
                    "captions.mode downweight needs a frozen text tower that pools its tokens; use "
                    "drop or mask"
                )
            if given := [name for name in HEADS if self.model.changes(name)]:
                raise ValueError(
                    f"model.{given[0]} is of heads on frozen towers and has no effect with "
                    f"trained {self.model.trained}; remove it"
                )
        else:
            if self.arms.structxlip.losses == "paper":
                raise ValueError(
                    "the losses of the paper read edge maps with the image tower that is trained; "
                    "set model.trained to all, lora or a number of blocks"
                )
            for name in OF_A_CLIP:
                if getattr(self.train, name) != Train.model_fields[name].default:
                    raise ValueError(
                        f"train.{name} needs a CLIP model that is trained itself; set "
                        f"model.trained to all, lora or a number of blocks"
                    )
        structural = self.arms.structxlip
        if structural.losses != "paper" and self.train.region_px is not None:
            raise ValueError("train.region_px has no effect without the losses of the paper")
        if structural.losses == "paper" and structural.region_chunk and not self.edges.max_regions:
            raise ValueError(
                "the region-chunk loss of the paper needs regions; set edges.max_regions, or "
                "arms.structxlip.region_chunk to 0"
            )
        return self
