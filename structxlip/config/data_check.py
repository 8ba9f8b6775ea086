"""Section `data_check`: what new pairs must show before they are trained on."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from structxlip.config.section import Fraction, Positive, Section

Action = Literal["stop", "warn", "off"]


class Limit(Section):
    """The limit of one check, and what follows when it is passed."""

    action: Action = Field(
        "warn",
        description="What follows. stop: nothing is trained. warn: it is said. off: nothing.",
    )
    limit: Fraction = Field(0.0, description="From 0 to 1. Higher: less is noticed.")


class DataCheck(Section):
    """The check of new pairs against those that the champion was trained on."""

    quarantined: Limit = Field(
        Limit(action="warn", limit=0.02),
        description="Share of the pairs that were bad. The stage ingest stops at max_bad_fraction.",
    )
    caption_lengths: Limit = Field(
        Limit(action="warn", limit=0.3),
        description="How far the lengths of captions have moved: the largest distance of the two "
        "distributions (Kolmogorov-Smirnov).",
    )
    edge_density: Limit = Field(
        Limit(action="warn", limit=0.3),
        description="How far the density of edges has moved, by the same measure.",
    )
    repeated: Limit = Field(
        Limit(action="warn", limit=0.3),
        description="How much larger the share of captions that another pair has too is among new "
        "pairs.",
    )
    drift: Limit = Field(
        Limit(action="warn", limit=0.01),
        description="The p-value of a permutation test (MMD) below which the embeddings of new "
        "pairs count as others. Higher: more is noticed.",
    )
    mismatched: Limit = Field(
        Limit(action="stop", limit=0.1),
        description="The share of new captions that do not belong to their images, as the champion "
        "sees it: the lower 95 % bound.",
    )
    min_pairs: Positive = Field(
        30, description="Smallest number of new and of old pairs that are compared."
    )
    max_pairs: Positive = Field(
        500,
        description="Largest number of each that the champion embeds. Higher: surer, and slower.",
    )
    resamples: Positive = Field(
        1000, description="Permutations and resamplings behind each decision."
    )
