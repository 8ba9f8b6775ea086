"""Section `gate`: what a new version must show to become the champion."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from structxlip.config.section import Fraction, NonNegativeFloat, Positive, PositiveFloat, Section


class Gate(Section):
    """The gate to `champion`. Recalls are R@1, the mean of both ways, in percent."""

    test_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5,
        description="Share of the test groups that the gate scores on and reports do not quote; "
        "cut by a hash. Higher: surer decisions, wider intervals in the report.",
    )
    min_recall: NonNegativeFloat = Field(
        5.0,
        description="Lowest R@1 of a champion, in percent, the first one too. Higher: weak models "
        "are refused.",
    )
    min_above_chance: NonNegativeFloat = Field(
        2.0,
        description="Lowest distance of R@1 from that of guessing, in points. Higher: models that "
        "learned little are refused.",
    )
    max_latency_ms: PositiveFloat | None = Field(
        None,
        description="Longest time of one text query, in ms (95th percentile). Lower: slow models "
        "are refused. null: any.",
    )
    max_size_mib: PositiveFloat | None = Field(
        None,
        description="Largest package, in MiB. Lower: large models are refused. null: any.",
    )
    margin: PositiveFloat = Field(
        1.0,
        description="Points of R@1 that count as no loss: the lower 95 % bound of the gain must "
        "reach -margin. Lower: fewer worse versions pass, and more images are needed.",
    )
    min_improvement: NonNegativeFloat = Field(
        0.5,
        description="Smallest mean gain over the champion, in points. Higher: fewer changes of "
        "champion.",
    )
    promote_equal: bool = Field(
        False,
        description="Whether a version that is not worse passes without a gain, when its data has "
        "grown or the champion is old.",
    )
    equal_after_growth: Fraction = Field(
        0.1, description="Share of new training images from which promote_equal applies."
    )
    equal_after_days: Positive = Field(
        90, description="Age of the champion, in days, from which promote_equal applies."
    )
    max_regression: PositiveFloat = Field(
        3.0,
        description="Most points that a part of the images may lose. A part that loses more, with "
        "95 % confidence over all parts, refuses the version. Lower: stricter.",
    )
    min_slice: Positive = Field(
        50, description="Smallest part of the images, such as those with long captions, in images."
    )
    collapse: Fraction = Field(
        0.5,
        description="Share of its R@1 at promotion below which the champion has collapsed: the "
        "data is at fault, and nothing is promoted. Higher: suspects the data sooner.",
    )
    bootstrap_samples: Positive = Field(
        2000, description="Resamplings behind each interval. Higher: steadier bounds, slower."
    )
