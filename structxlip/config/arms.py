"""The arms: plain CLIP fine-tuning, and StructXLIP with its losses, weights and temperatures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from structxlip.config.section import Fraction, Name, NonNegativeFloat, PositiveFloat, Section

Arm = Literal["vanilla", "structxlip"]
Variant = Literal["patches", "regions"]
STRUCTURAL_LOSSES = ("edge_text", "region_chunk", "edge_image")


class Floors(Section):
    """The share of each loss weight that remains at the end of its decay."""

    edge_text: Fraction = Field(
        1.0, description="Remaining share of the edge-text weight. Lower: it fades more."
    )
    region_chunk: Fraction = Field(
        1.0, description="Remaining share of the region-chunk weight. Lower: it fades more."
    )
    edge_image: Fraction = Field(
        1.0, description="Remaining share of the edge-image weight. Lower: it fades more."
    )


class Schedule(Section):
    """The schedule of the structural loss weights over the epochs (``weight_schedule``)."""

    warm: NonNegativeFloat = Field(
        0, description="Epochs in which the weights rise from 0. Higher: structure starts later."
    )
    decay_start: NonNegativeFloat | None = Field(
        None, description="Epoch at which the weights begin to fall. null: they never fall."
    )
    decay_end: PositiveFloat | None = Field(
        None, description="Epoch at which the weights reach their floors."
    )
    floors: Floors = Field(Floors(), description="Shares of the weights that remain.")

    @model_validator(mode="after")
    def _check_order(self) -> Schedule:
        if (self.decay_start is None) != (self.decay_end is None):
            raise ValueError("decay_start and decay_end are given together, or both null")
        if self.decay_start is not None and self.decay_end is not None:
            if not self.warm <= self.decay_start < self.decay_end:
                raise ValueError("needs warm <= decay_start < decay_end")
        elif self.floors != Floors():
            raise ValueError("floors have no effect without decay_start and decay_end")
        return self


class ArmSettings(Section):
    """The structural losses that an arm adds to the CLIP loss, with weights and temperatures.

    The arm whose weights are all 0 is plain CLIP fine-tuning: vanilla.
    """

    variant: Variant = Field(
        "patches",
        description="The form of the region-chunk and edge-image losses. patches: an edge CNN "
        "gives patches that chunks attend over, and a learned projection ties edges to images. "
        "regions: the trained image tower reads the edge map and crops of it, and the cosine ties "
        "edges to images.",
    )
    edge_text: NonNegativeFloat = Field(
        0.5,
        description="Weight of the edge-text loss; the CLIP loss has 1. Higher: edges and "
        "structural captions are pulled together harder. 0: left out.",
    )
    region_chunk: NonNegativeFloat = Field(
        0.1,
        description="Weight of the region-chunk loss; the CLIP loss has 1. Higher: more weight on "
        "local matches. 0: left out, and steps are faster.",
    )
    edge_image: NonNegativeFloat = Field(
        0.05,
        description="Weight of the edge-image loss; the CLIP loss has 1. Higher: edge embeddings "
        "stay nearer to image embeddings. 0: left out.",
    )
    extra_losses: dict[Name, PositiveFloat] = Field(
        default_factory=dict,
        description="Weights of losses that you added, by the name of their file in "
        "structxlip/losses. Higher: that loss counts more.",
    )
    attention_temperature: PositiveFloat = Field(
        0.1,
        description="Temperature of the attention of chunks over patches. Lower: each chunk looks "
        "at fewer patches. Only the variant `patches` reads it.",
    )
    temperature: PositiveFloat | None = Field(
        None,
        description="Temperature of the region-chunk loss. Lower: hard negatives count more. With "
        "the variant `regions` it divides the logit scale, and the result is at most 100. null: "
        "0.07 for patches, 1 for regions.",
    )
    edge_shift_px: Annotated[int, Field(ge=0)] = Field(
        0,
        description="Most pixels by which each batch moves an edge map, each way. Higher: the edge "
        "CNN cannot memorise its training maps. 0: maps stay in place.",
    )
    schedule: Schedule = Field(Schedule(), description="How the three weights change over epochs.")

    @model_validator(mode="after")
    def _check_extra_losses(self) -> ArmSettings:
        if taken := [name for name in self.extra_losses if name in ("clip", *STRUCTURAL_LOSSES)]:
            raise ValueError(f"extra_losses: {taken[0]} has a key of its own; set that")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each structural loss by its name, zeros included."""
        return {name: getattr(self, name) for name in STRUCTURAL_LOSSES} | self.extra_losses

    @property
    def is_structural(self) -> bool:
        """Whether the arm trains with structure. False is vanilla, which has no edge branch."""
        return any(self.weights.values())

    @property
    def needs_regions(self) -> bool:
        """Whether the arm reads crops of the regions of edge maps."""
        return self.variant == "regions" and self.region_chunk > 0


VANILLA = ArmSettings(edge_text=0.0, region_chunk=0.0, edge_image=0.0)


class Empty(Section):
    """Plain CLIP fine-tuning adds nothing, so this section stays empty."""


class Arms(Section):
    """The two arms: plain CLIP fine-tuning, and StructXLIP."""

    vanilla: Empty = Field(description="Plain CLIP fine-tuning. It has no settings: leave it {}.")
    structxlip: ArmSettings = Field(description="What StructXLIP adds to the CLIP loss.")
