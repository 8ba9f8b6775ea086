"""The settings of the structural cues: edge maps and structural captions."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from structxlip.config.section import Fraction, NonNegativeFloat, Section


class Edges(Section):
    """The edge map of an image: its cue, its size and its quality."""

    cue: str = Field(
        "canny",
        description="The edge detector. Binary maps: canny, canny_local (also faint outlines, such "
        "as pale products on white), sobel, scharr, log, dog, lsd, learned. Soft maps: gradient. "
        "Cells of a grid: orientations, which edge_branch: descriptor reads. Or one that you "
        "added.",
    )
    weights: str | None = Field(
        None,
        description="The ONNX file of the cue `learned`. DVC notices a change of the file when it "
        "lies in assets/cues.",
    )
    size_px: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = Field(
        128,
        description="Side of the square edge map, in pixels. Higher: finer edges, and an edge "
        "branch whose cost grows with the square. Lower: faster down to 128, and small things "
        "disappear.",
    )
    blur_sigma: NonNegativeFloat = Field(
        1.0,
        description="Standard deviation of the Gaussian blur before detection, in pixels of the "
        "edge map. Higher: less noise and texture. Lower: finer lines. 0: no blur.",
    )
    cells: Literal[8, 16, 32] = Field(
        16,
        description="Cells a side of the cue `orientations`. Higher: finer outlines, and a branch "
        "that depends more on where they are. Other cues have pixels instead.",
    )
    tower_grid: Annotated[int, Field(ge=1, le=16)] | None = Field(
        None,
        description="The frozen image tower reads each edge map too, as a drawing of dark lines, "
        "and edge_branch: image_tower learns from its features in a grid of so many patches a "
        "side. Higher: finer places, with features that take the square of it. 1: no places. null: "
        "it reads none.",
    )
    low: NonNegativeFloat | None = Field(
        None,
        description="Lower hysteresis threshold, in units of the detector. Higher: fewer weak "
        "edges. null: from the statistics of each image.",
    )
    high: NonNegativeFloat | None = Field(
        None,
        description="Upper hysteresis threshold, in units of the detector. Higher: fewer edges. "
        "null: from the statistics of each image.",
    )
    min_density: Fraction = Field(
        0.005,
        description="Smallest share of edge pixels in a map that has structure. A map below it "
        "enters no loss. Higher: more maps are left out as blank.",
    )
    max_density: Fraction = Field(
        0.5,
        description="Largest share of edge pixels in a map that has structure. A map above it "
        "enters no loss. Lower: more maps are left out as full. Only of binary maps.",
    )
    min_unevenness: NonNegativeFloat = Field(
        0.2,
        description="Smallest spread of the edges over the map: the standard deviation of the "
        "densities of 8 x 8 cells, divided by the mean. A map below it, of noise or of texture "
        "alone, enters no loss. Higher: more maps are left out as noise. 0: none. Only of binary "
        "maps.",
    )
    max_regions: Annotated[int, Field(ge=0, le=64)] = Field(
        8,
        description="Most boxes of connected edges for each map. Only the loss region_chunk reads "
        "them. Higher: smaller parts too, at the cost of time. 0: none, and the stage is twice as "
        "fast.",
    )
    own_boxes: bool = Field(
        True,
        description="Whether the boxes that a dataset brings along replace the boxes from edges.",
    )

    @model_validator(mode="after")
    def _check_order(self) -> Edges:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high are given together, or both null")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError("low must be below high")
        if self.min_density >= self.max_density:
            raise ValueError("min_density must be below max_density")
        return self


_OF_INGESTION = {"boilerplate", "boilerplate_share"}


class Captions(Section):
    """The structural caption: the words that it keeps, and its chunks."""

    language_model: str = Field(
        "en_core_web_sm",
        description="The spaCy model that parses captions: an installed package, or a folder.",
    )
    lexicons: list[str] = Field(
        default_factory=lambda: ["general"],
        min_length=1,
        description="Word lists: general, medical, fashion, or YAML files of your own. DVC notices "
        "a change of a file when it lies in assets/lexicons.",
    )
    method: Literal["parse", "lexicon"] = Field(
        "parse",
        description="parse: remove every adjective and adverb that no lexicon keeps, and the "
        "colours, materials and textures that a lexicon lists; a lexicon with `unlisted: keep`, "
        "such as medical, leaves the others. lexicon: remove only the listed words.",
    )
    mode: Literal["drop", "mask", "downweight"] = Field(
        "drop",
        description="What happens to a removed word. drop: it disappears. mask: the mask word "
        "replaces it. downweight: it stays, with a smaller weight in the text feature.",
    )
    mask_word: Annotated[str, Field(min_length=1)] = Field(
        "[MASK]", description="The word that replaces removed words with mode `mask`."
    )
    downweight: Fraction = Field(
        0.25,
        description="Weight of a removed word with mode `downweight`; other words have 1. Higher: "
        "appearance counts more. Needs a text tower that averages its tokens.",
    )
    chunks: Literal["phrases", "windows"] = Field(
        "phrases",
        description="phrases: noun phrases and prepositional phrases of the parse. windows: a few "
        "words at a time.",
    )
    boilerplate: Literal["keep", "drop"] = Field(
        "keep",
        description="drop: ingestion leaves out sentences that recur in many pairs, such as "
        "washing instructions, so that both arms train and are tested without them. A caption of "
        "one sentence stays. `structxlip inspect` lists such sentences.",
    )
    boilerplate_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1,
        description="Share of the pairs above which a sentence is boilerplate. Lower: more "
        "sentences are left out, and at some point those that say something.",
    )
    max_chunks: Annotated[int, Field(ge=1, le=1024)] = Field(
        96,
        description="Most chunks for each caption; later ones are left out, and counted in "
        "data/<dataset>/captions/report.json. Higher: the end of long captions takes part, at the "
        "cost of disk.",
    )

    def of_ingestion(self) -> dict[str, Any]:
        """The settings that decide which text of a caption is read at all."""
        return self.model_dump(include=_OF_INGESTION)

    def of_parsing(self) -> dict[str, Any]:
        """The settings that decide what is made of a text."""
        return self.model_dump(exclude=_OF_INGESTION)

    def of_structure(self) -> dict[str, Any]:
        """The settings that decide what is made of a parse, given the lexicon."""
        return self.model_dump(exclude=_OF_INGESTION | {"language_model", "lexicons"})
