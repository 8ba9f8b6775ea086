"""The arms: plain CLIP fine-tuning, and StructXLIP with its losses, weights and temperatures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from structxlip.config.section import Fraction, Name, NonNegativeFloat, PositiveFloat, Section

Arm = Literal["vanilla", "structxlip"]
EdgeBranch = Literal["cnn", "descriptor", "image_tower", "none"]
Side = Literal["image", "edge", "text"]
STRUCTURAL_LOSSES = ("edge_text", "region_chunk", "edge_image")
# Files of region-chunk losses: one reads patches of the edge branch, the other crops of maps.
PATCHES, REGIONS = "region_chunk_attention", "region_chunk"


class Schedule(Section):
    """The schedule of the weight of a loss over the epochs (``weight_schedule``)."""

    warm: NonNegativeFloat = Field(
        0, description="Epochs in which the weight rises from 0. Higher: the loss starts later."
    )
    decay_start: NonNegativeFloat | None = Field(
        None, description="Epoch at which the weight begins to fall. null: it never falls."
    )
    decay_end: PositiveFloat | None = Field(
        None, description="Epoch at which the weight reaches its floor."
    )
    floor: Fraction = Field(
        1.0, description="Share of the weight that remains at the end. Lower: it fades more."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Schedule:
        if (self.decay_start is None) != (self.decay_end is None):
            raise ValueError("decay_start and decay_end are given together, or both null")
        if self.decay_start is not None and self.decay_end is not None:
            if not self.warm <= self.decay_start < self.decay_end:
                raise ValueError("needs warm <= decay_start < decay_end")
        elif self.floor != 1:
            raise ValueError("floor has no effect without decay_start and decay_end")
        return self


class LossSettings(Section):
    """The keys that all structural losses have. A number in their place is the weight."""

    detach: list[Side] = Field(
        default_factory=list,
        description="Sides through which the loss sends no gradient back: image, edge, text. "
        "[]: all of them learn from it.",
    )
    schedule: Schedule = Field(Schedule(), description="How the weight changes over the epochs.")

    @model_validator(mode="before")
    @classmethod
    def _weight_alone(cls, value: Any) -> Any:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return {"weight": value} if is_number else value


class EdgeText(LossSettings):
    """The edge-text loss: edge maps against structural captions."""

    kind: Name = Field(
        "contrastive",
        description="The file of the loss in structxlip/losses: contrastive, sigmoid, or yours.",
    )
    weight: NonNegativeFloat = Field(
        0.5,
        description="Weight; the CLIP loss has 1. Higher: edges and structural captions are pulled "
        "together harder. 0: left out.",
    )


class RegionChunk(LossSettings):
    """The region-chunk loss: parts of edge maps against chunks of captions."""

    kind: Name = Field(
        PATCHES,
        description="The file of the loss in structxlip/losses. region_chunk_attention: chunks "
        "attend over the patches of the edge branch. region_chunk: chunks against crops of edge "
        "maps that the trained image tower reads.",
    )
    weight: NonNegativeFloat = Field(
        0.1,
        description="Weight; the CLIP loss has 1. Higher: more weight on local matches. 0: left "
        "out, and steps are faster.",
    )
    attention_temperature: PositiveFloat = Field(
        0.1,
        description="Temperature of the attention of chunks over patches. Lower: each chunk looks "
        "at fewer patches. Only region_chunk_attention reads it.",
    )
    temperature: PositiveFloat | None = Field(
        None,
        description="Temperature of the loss. Lower: hard negatives count more. With region_chunk "
        "it divides the logit scale, and the result is at most 100. null: 0.07 for "
        "region_chunk_attention, 1 for region_chunk.",
    )


class EdgeImage(LossSettings):
    """The edge-image loss: edge embeddings stay near the embeddings of their images."""

    kind: Name = Field(
        "projected_l2",
        description="The file of the loss in structxlip/losses. projected_l2: through a learned "
        "projection. cosine: without one.",
    )
    weight: NonNegativeFloat = Field(
        0.05,
        description="Weight; the CLIP loss has 1. Higher: edge embeddings stay nearer to image "
        "embeddings. 0: left out.",
    )


class ArmSettings(Section):
    """The structural losses that an arm adds to the CLIP loss, and what reads the edge maps.

    The arm whose weights are all 0 is plain CLIP fine-tuning: vanilla.
    """

    edge_branch: EdgeBranch = Field(
        "cnn",
        description="What reads the edge maps. cnn: a small CNN of its own for maps of pixels, "
        "which gives patches. descriptor: a smaller one for the cells of the cue orientations, "
        "which gives patches too. image_tower: the image tower. Where it is trained, it reads "
        "crops too; where it is frozen, heads learn from what it makes of the maps "
        "(edges.tower_grid). none: nothing, so that no structural loss is trained.",
    )
    edge_text: EdgeText = Field(EdgeText(), description="The edge-text loss, or its weight.")
    region_chunk: RegionChunk = Field(
        RegionChunk(), description="The region-chunk loss, or its weight."
    )
    edge_image: EdgeImage = Field(EdgeImage(), description="The edge-image loss, or its weight.")
    extra_losses: dict[Name, PositiveFloat] = Field(
        default_factory=dict,
        description="Weights of losses that you added, by the name of their file in "
        "structxlip/losses. Higher: that loss counts more.",
    )
    edge_shift_px: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Most pixels by which each batch moves an edge map, each way, in pixels of "
        "edges.size_px. Cells move by parts of a cell. Higher: the edge branch cannot memorise its "
        "training maps. 0: maps stay in place.",
    )

    @model_validator(mode="after")
    def _check_losses(self) -> ArmSettings:
        if taken := [name for name in self.extra_losses if name in ("clip", *STRUCTURAL_LOSSES)]:
            raise ValueError(f"extra_losses: {taken[0]} has a key of its own; set that")
        local = self.region_chunk
        if self.edge_branch == "none" and any(self.structural_weights.values()):
            raise ValueError("edge_branch: none trains no structural loss; set their weights to 0")
        if local.weight and local.kind == REGIONS and self.edge_branch != "image_tower":
            raise ValueError(f"region_chunk: the kind {REGIONS} needs edge_branch: image_tower")
        return self

    @property
    def structural(self) -> dict[str, LossSettings]:
        """The structural losses by their names."""
        return {name: getattr(self, name) for name in STRUCTURAL_LOSSES}

    @property
    def structural_weights(self) -> dict[str, float]:
        """The weight of each structural loss by its name, zeros included."""
        return {name: getattr(self, name).weight for name in STRUCTURAL_LOSSES}

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each loss beside the CLIP loss by its name, zeros included."""
        return self.structural_weights | self.extra_losses

    @property
    def is_structural(self) -> bool:
        """Whether the arm trains with structure. False is vanilla, which has no edge branch."""
        return self.edge_branch != "none" and any(self.weights.values())

    @property
    def needs_regions(self) -> bool:
        """Whether the arm reads crops of the regions of edge maps."""
        return self.region_chunk.kind == REGIONS and self.region_chunk.weight > 0

    def with_weights(self, **weights: float) -> ArmSettings:
        """The same arm with other weights of the structural losses that are named."""
        losses = {
            name: getattr(self, name).model_copy(update={"weight": weight})
            for name, weight in weights.items()
        }
        return self.model_copy(update=losses)


VANILLA = ArmSettings().with_weights(**dict.fromkeys(STRUCTURAL_LOSSES, 0.0))


class Empty(Section):
    """Plain CLIP fine-tuning adds nothing, so this section stays empty."""


class Arms(Section):
    """The two arms: plain CLIP fine-tuning, and StructXLIP."""

    vanilla: Empty = Field(description="Plain CLIP fine-tuning. It has no settings: leave it {}.")
    structxlip: ArmSettings = Field(description="What StructXLIP adds to the CLIP loss.")
