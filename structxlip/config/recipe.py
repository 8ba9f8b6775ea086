"""A recipe: how a model is built, trained and measured."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from structxlip.config.arms import PATCHES, REGIONS, VANILLA, Arm, Arms, ArmSettings
from structxlip.config.cues import Captions, Edges
from structxlip.config.section import NonNegativeFloat, Positive, Section
from structxlip.config.train import Train

# Keys that only projection heads on frozen towers read.
HEAD_KEYS = ("embed_dim", "hidden_dim", "dropout", "colour_copies")
# Keys of `train` that only a trained CLIP reads.
TRAINED_CLIP_KEYS = (
    "clip_learning_rate",
    "layer_decay",
    "length_window",
    "augmentation",
    "tuned_share",
)


class Model(Section):
    """The towers that encode images and texts, and the weights that are trained."""

    image_tower: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:.+$")] = Field(
        description="The image encoder, as KIND:NAME: packaged:NAME, timm:NAME, "
        "open_clip:NAME/PRETRAINED, open_clip:CONFIG.json/WEIGHTS, or hf:FOLDER."
    )
    text_tower: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*:.+$")] = Field(
        description="The text encoder, as KIND:NAME. A CLIP that is trained is named twice, as "
        "both towers."
    )
    image_px: Annotated[int, Field(ge=32, le=1024)] = Field(
        description="Side of the square image that the image tower reads, in pixels. Higher: finer "
        "detail, and a cost that grows with the square. A CLIP takes its own size only."
    )
    # DVC watches these two keys by name, so that they have no defaults: they stand in the file.
    max_tokens: Annotated[int, Field(ge=8, le=8192)] | None = Field(
        description="Most tokens that the text tower reads. Higher: long captions are read whole; "
        "248 tokens cost about 2.3 times as much as 77. More than a CLIP has stretches its "
        "positions. null: as many as the tower has."
    )
    trained: Literal["heads", "lora", "all"] | Positive = Field(
        description="Which weights are trained. heads: projection heads on frozen towers. A "
        "number: the last so many blocks of a CLIP. lora: low-rank updates of a CLIP. all: the "
        "whole CLIP. More weights fit better, and forget more on small data."
    )
    lora_rank: Positive = Field(
        8,
        description="Rank of the low-rank updates with `trained: lora`. Higher: fits more. Lower: "
        "forgets less.",
    )
    embed_dim: Positive = Field(
        256,
        description="Size of the joint embedding space of the heads. Higher: can tell more apart, "
        "with a larger index.",
    )
    hidden_dim: Positive = Field(
        512,
        description="Hidden units of a projection head. Higher: fits more. Lower: overfits less.",
    )
    dropout: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.3,
        description="Share of hidden units that each step leaves out. Higher: overfits less and "
        "learns more slowly.",
    )
    colour_copies: Annotated[int, Field(ge=0, le=8)] = Field(
        0,
        description="Copies of each training picture with another hue, saturation, contrast and "
        "brightness, which the frozen image tower reads too. Each batch takes a picture or one of "
        "its copies, the same for both arms. Higher: recall falls less where colours change, may "
        "fall where they do not, and the stage `features` takes longer. 0: none.",
    )

    @model_validator(mode="after")
    def _check_trained(self) -> Model:
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
        """Whether both towers keep their weights."""
        return self.trained == "heads"

    def encoder_settings(self) -> dict[str, Any]:
        """The settings of what turns images and texts into rows of the feature store."""
        names = {"image_tower", "text_tower", "image_px", "max_tokens"}
        return self.model_dump(include=names) | {"frozen": self.frozen}

    def feature_settings(self) -> dict[str, Any]:
        """The settings of the feature store: its encoders, and the copies beside each picture."""
        return self.encoder_settings() | {"colour_copies": self.colour_copies}


class Evaluation(Section):
    """The comparison of the models."""

    alphas: list[NonNegativeFloat] = Field(
        default_factory=lambda: [0.0],
        min_length=1,
        description="Weights α of the fused edge branch that are tried. The best mean R@1 on "
        "validation decides. Must hold 0, which is the image alone.",
    )
    betas: list[NonNegativeFloat] = Field(
        default_factory=lambda: [0.0],
        min_length=1,
        description="Weights β of the late interaction of chunks and patches, by which the first "
        "128 answers of a query are reranked. The best mean R@1 on validation decides, at the α "
        "that it chose. Must hold 0, which reranks nothing. Without the region-chunk loss, which "
        "trains the patches, nothing is reranked.",
    )
    bootstrap_samples: Annotated[int, Field(ge=100)] = Field(
        1000,
        description="Resamplings of the test images for the 95 % interval of a gain. Higher: a "
        "steadier interval.",
    )

    @model_validator(mode="after")
    def _check_plain_clip(self) -> Evaluation:
        if 0.0 not in self.alphas:
            raise ValueError("alphas must hold 0.0, which is plain CLIP")
        if 0.0 not in self.betas:
            raise ValueError("betas must hold 0.0, which reranks nothing")
        return self


class Recipe(Section):
    """The recipe of a model: towers, cues, training and evaluation; everything but the data."""

    edges: Edges = Field(description="How edge maps are computed.")
    captions: Captions = Field(description="How structural captions and chunks are made.")
    model: Model = Field(description="The towers, and what of them is trained.")
    train: Train = Field(description="How each arm is trained.")
    arms: Arms = Field(description="What each arm adds to the CLIP loss.")
    evaluation: Evaluation = Field(description="How the models are compared.")

    def arm_settings(self, arm: Arm) -> ArmSettings:
        """The settings of an arm by its name. The weights of vanilla are all 0."""
        return self.arms.structxlip if arm == "structxlip" else VANILLA

    @property
    def reads_with_tower(self) -> bool:
        """Whether the edge branch learns from what the frozen image tower makes of the maps."""
        by_tower = self.arms.structxlip.edge_branch == "image_tower"
        return by_tower and self.edges.tower_grid is not None

    @model_validator(mode="after")
    def _check_sections(self) -> Recipe:
        structural, trained = self.arms.structxlip, self.model.trained
        if structural.edge_shift_px >= self.edges.size_px:
            raise ValueError("arms.structxlip.edge_shift_px must be below edges.size_px")
        _check_edge_branch(structural, self.edges, frozen=self.model.frozen)
        has_patches = self.model.frozen and structural.region_chunk.kind == PATCHES
        if any(self.evaluation.betas) and not has_patches:
            raise ValueError(
                f"evaluation.betas needs frozen towers and a region-chunk loss of the kind "
                f"{PATCHES}, which trains the patches; set it to [0.0]"
            )
        if trained == "lora" and self.train.start == "champion":
            raise ValueError("train.start: low-rank updates start from the base; set it to base")
        if self.model.frozen:
            if given := _not_default(self.train, TRAINED_CLIP_KEYS):
                raise ValueError(
                    f"train.{given} needs a CLIP model that is trained itself; set "
                    f"model.trained to all, lora or a number of blocks"
                )
        else:
            if self.captions.mode == "downweight":
                raise ValueError(
                    "captions.mode downweight needs a frozen text tower that pools its tokens; use "
                    "drop or mask"
                )
            if given := _not_default(self.model, HEAD_KEYS):
                raise ValueError(
                    f"model.{given} belongs to heads on frozen towers and has no effect with "
                    f"trained {trained}; remove it"
                )
        if structural.region_chunk.kind != REGIONS and self.train.region_px is not None:
            raise ValueError(
                "train.region_px has no effect without a region-chunk loss of the kind region_chunk"
            )
        if structural.needs_regions and not self.edges.max_regions:
            raise ValueError(
                "the region-chunk loss of the kind region_chunk needs regions; set "
                "edges.max_regions, or the weight of the loss to 0"
            )
        return self


class RecipeEntry(Recipe):
    """A recipe as it stands in the file."""

    like: str | None = Field(
        None,
        description="Another recipe, from which this one takes what it leaves out, key by key. "
        "null: what it leaves out has its default.",
    )


def _check_edge_branch(arm: ArmSettings, edges: Edges, *, frozen: bool) -> None:
    """Raise ``ValueError`` where the branch, its losses and the edge maps do not fit together."""
    local = arm.region_chunk if arm.region_chunk.weight else None
    cached = frozen and arm.edge_branch == "image_tower"
    if cached and edges.tower_grid is None:
        raise ValueError(
            "edge_branch: image_tower with frozen towers needs edges.tower_grid, such as 4"
        )
    if not cached and edges.tower_grid is not None:
        raise ValueError(
            "edges.tower_grid has no effect without edge_branch: image_tower and frozen towers; "
            "remove it"
        )
    if local and local.kind == PATCHES:
        if arm.edge_branch == "image_tower" and not frozen:
            raise ValueError(
                f"region_chunk: the kind {PATCHES} needs patches, which a trained image tower has "
                f"none of; take the kind {REGIONS}, or edge_branch: cnn or descriptor"
            )
        if cached and edges.tower_grid == 1:
            raise ValueError("the region-chunk loss needs patches; set edges.tower_grid above 1")
    if cached and arm.edge_shift_px:
        raise ValueError(
            "arms.structxlip.edge_shift_px has no effect on features that are made once; set it "
            "to 0"
        )
    if cached and local and local.kind == REGIONS:
        raise ValueError(
            f"region_chunk: the kind {REGIONS} reads crops with an image tower that is trained; "
            f"take the kind {PATCHES}"
        )


def _not_default(section: Section, keys: tuple[str, ...]) -> str | None:
    """The first of some keys whose value is not its default."""
    fields = type(section).model_fields
    return next((key for key in keys if getattr(section, key) != fields[key].default), None)
