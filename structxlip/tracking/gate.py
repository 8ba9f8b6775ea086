"""The gate: whether a new model version becomes the champion. A pure function of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from structxlip.config.gate import Gate
from structxlip.evaluation.retrieval import Ranks
from structxlip.evaluation.statistics import Gain, holm, resampled_gains

Verdict = Literal["promoted", "refused", "undecided", "forced"]
LEVEL = 0.05  # of the test over all slices


@dataclass(frozen=True)
class SliceGain:
    """The gain on a part of the gate images.

    Attributes:
        name: of the part.
        images: how many there are.
        gain: over the champion, in points.
        p: of the hypothesis that the part has lost no more than ``max_regression``, in (0, 1].
    """

    name: str
    images: int
    gain: Gain
    p: float


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate. Recalls are R@1, the mean of both ways, in percent.

    Attributes:
        images: of the gate split.
        recall: of the candidate.
        chance: the recall of guessing.
        latency_ms: of one query, the 95th percentile.
        size_mib: of the package.
        vanilla: the gain over vanilla of the same run; None when the candidate is vanilla.
        champion: the gain over the champion; None without a champion.
        champion_recall: of the champion, on the same images.
        champion_before: of the champion when it was promoted; None when it is not known.
        slices: the gains over the champion on parts of the images.
        seen_images: gate images that the champion was trained on, and that are left out.
        equal_suffices: that data has grown, or the champion is old; see ``promote_equal``.
    """

    images: int
    recall: float
    chance: float
    latency_ms: float = 0.0
    size_mib: float = 0.0
    vanilla: Gain | None = None
    champion: Gain | None = None
    champion_recall: float | None = None
    champion_before: float | None = None
    slices: tuple[SliceGain, ...] = ()
    seen_images: int = 0
    equal_suffices: bool = False


@dataclass(frozen=True)
class Decision:
    """What the gate says, and why, in words.

    Attributes:
        verdict: only `promoted` and `forced` move the champion.
        reason: one sentence or more.
        images_needed: of an undecided one, the gate images that would decide, if the gain stays.
    """

    verdict: Verdict
    reason: str
    images_needed: int | None = None

    @property
    def promotes(self) -> bool:
        """Whether the candidate becomes the champion."""
        return self.verdict in ("promoted", "forced")


def decide(evidence: Evidence, gate: Gate, force: str | None = None) -> Decision:
    """Decide on a candidate.

    The first of these that speaks decides: a champion that has seen the images, or has
    collapsed, the limits of values, vanilla of the same run, the slices, and the gain over the
    champion.

    Args:
        evidence: the numbers.
        gate: the settings.
        force: the reason of a person who promotes whatever the numbers say.
    """
    found = (
        _saw_the_images(evidence, gate)
        or _collapsed(evidence, gate)
        or _out_of_limits(evidence, gate)
        or _below_vanilla(evidence, gate)
        or _lost_slice(evidence, gate)
        or _against_champion(evidence, gate)
    )
    if force is None:
        return found
    return Decision("forced", f"{force} (the gate says {found.verdict}: {found.reason})")


def _saw_the_images(evidence: Evidence, gate: Gate) -> Decision | None:
    if not evidence.seen_images or evidence.images >= gate.min_slice:
        return None
    return Decision(
        "refused",
        f"the champion was trained on {evidence.seen_images} of the gate images, and too few are "
        f"left to compare with it; if the split is meant to be another one, promote the new "
        f"version with `structxlip register --force REASON`",
    )


def _collapsed(evidence: Evidence, gate: Gate) -> Decision | None:
    now, before = evidence.champion_recall, evidence.champion_before
    if now is None:
        return None
    at_promotion = f", against {before:.1f} % when it was promoted" if before is not None else ""
    if now >= max(_floor(evidence, gate), gate.collapse * (before or 0.0)):
        return None
    return Decision(
        "refused",
        f"the champion itself has only R@1 {now:.1f} % on the gate split{at_promotion}: the data "
        f"is at fault, and nothing is promoted; look at the pairs with `structxlip inspect`",
    )


def _floor(evidence: Evidence, gate: Gate) -> float:
    return max(gate.min_recall, evidence.chance + gate.min_above_chance)


def _out_of_limits(evidence: Evidence, gate: Gate) -> Decision | None:
    limits = [
        (
            evidence.latency_ms,
            gate.max_latency_ms,
            "a query takes {:.0f} ms",
            "gate.max_latency_ms",
        ),
        (evidence.size_mib, gate.max_size_mib, "the package has {:.0f} MiB", "gate.max_size_mib"),
    ]
    if evidence.recall < _floor(evidence, gate):
        return Decision(
            "refused",
            f"R@1 {evidence.recall:.1f} % is below {_floor(evidence, gate):.1f} %, the larger one "
            f"of gate.min_recall and gate.min_above_chance over guessing",
        )
    for value, limit, words, key in limits:
        if limit is not None and value > limit:
            return Decision("refused", f"{words.format(value)}, more than {key} {limit:g}")
    return None


def _below_vanilla(evidence: Evidence, gate: Gate) -> Decision | None:
    gain = evidence.vanilla
    if gain is None or gain.low >= -gate.margin:
        return None
    return Decision(
        "refused", f"it may be worse than vanilla of the same run ({gain} points of R@1)"
    )


def _lost_slice(evidence: Evidence, gate: Gate) -> Decision | None:
    rejected = holm([part.p for part in evidence.slices], LEVEL)
    lost = [part for part, out in zip(evidence.slices, rejected, strict=True) if out]
    if not lost:
        return None
    worst = min(lost, key=lambda part: part.p)
    return Decision(
        "refused",
        f"it loses more than {gate.max_regression:g} points on {worst.images} images: {worst.name} "
        f"({worst.gain})",
    )


def _against_champion(evidence: Evidence, gate: Gate) -> Decision:
    gain = evidence.champion
    if gain is None:
        return Decision("promoted", f"the first version, R@1 {evidence.recall:.1f} %")
    said = f"{gain} points of R@1 against the champion on {evidence.images} images"
    if evidence.seen_images:
        said += (
            f" (it was trained on {evidence.seen_images} others of the gate, which are left out)"
        )
    equal = gate.promote_equal and evidence.equal_suffices
    if gain.mean <= -gate.margin or (gain.mean < gate.min_improvement and not equal):
        return Decision("refused", f"no gain of {gate.min_improvement:g}: {said}")
    if gain.low < -gate.margin:
        needed = images_needed(evidence.images, gain, gate.margin)
        return Decision(
            "undecided",
            f"too few images to rule out a loss of {gate.margin:g}: {said}; about {needed:,} gate "
            f"images would tell, and the champion stays",
            needed,
        )
    if gain.mean < gate.min_improvement:
        return Decision("promoted", f"not worse, on more or newer data: {said}")
    return Decision("promoted", said)


def images_needed(images: int, gain: Gain, margin: float) -> int:
    """The images at which the lower bound reaches ``-margin``, when the mean stays.

    The width of an interval falls with the root of the images. ``gain.mean`` is above ``-margin``.
    """
    return math.ceil(images * ((gain.mean - gain.low) / (gain.mean + margin)) ** 2)


def gains(
    before: Ranks,
    after: Ranks,
    text_to_image: NDArray[np.integer],
    slices: Mapping[str, NDArray[np.bool_]],
    gate: Gate,
) -> tuple[Gain, tuple[SliceGain, ...]]:
    """The gain of R@1 of ``after`` over ``before``, and that on parts of the images.

    Args:
        before, after: ranks of the same queries under two models.
        text_to_image: ``[M]``, the image of each caption.
        slices: by name, ``[N]``: the images of a part. Those below ``min_slice`` are left out.
        gate: the settings.
    """

    def drawn(chosen: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        return resampled_gains(
            before, after, text_to_image, samples=gate.bootstrap_samples, chosen=chosen
        )

    found = []
    for name, chosen in slices.items():
        if (count := int(chosen.sum())) >= gate.min_slice:
            values = drawn(chosen)
            found.append(SliceGain(name, count, Gain.of(values), p_not_lost(values, gate)))
    return Gain.of(drawn()), tuple(found)


def p_not_lost(values: NDArray[np.floating], gate: Gate) -> float:
    """The bootstrap's p-value of the hypothesis that no more than ``max_regression`` is lost.

    ``values`` are the gains of ``resampled_gains``, of which the first is the observed one.
    """
    kept = int(np.count_nonzero(values[1:] >= -gate.max_regression))
    return (1 + kept) / len(values)
