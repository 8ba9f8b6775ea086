"""The gate decides by numbers alone: what it promotes keeps every rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from structxlip.config.gate import Gate
from structxlip.evaluation.retrieval import retrieval_ranks
from structxlip.evaluation.statistics import Gain
from structxlip.tracking.gate import Evidence, SliceGain, decide, gains, images_needed

GATE = Gate()
GOOD = Evidence(
    images=1000,
    recall=42.0,
    chance=0.1,
    latency_ms=20.0,
    size_mib=40.0,
    vanilla=Gain(2.0, 0.5, 3.5),
    champion=Gain(2.0, 0.5, 3.5),
    champion_recall=40.0,
    champion_before=41.0,
    slices=(SliceGain("long captions", 200, Gain(1.0, -1.0, 3.0), 1.0),),
)
points = st.floats(-10, 10)


@st.composite
def found_gains(draw: st.DrawFn) -> Gain:
    mean = draw(points)
    return Gain(mean, mean - draw(st.floats(0, 8)), mean + draw(st.floats(0, 8)))


evidences = st.builds(
    Evidence,
    images=st.integers(1, 5000),
    recall=st.floats(0, 100),
    chance=st.floats(0, 10),
    latency_ms=st.floats(0, 100),
    size_mib=st.floats(0, 1000),
    vanilla=st.none() | found_gains(),
    champion=found_gains(),
    champion_recall=st.floats(0, 100),
    champion_before=st.none() | st.floats(0, 100),
    slices=st.lists(
        st.builds(
            SliceGain, st.just("part"), st.integers(50, 500), found_gains(), st.floats(1e-3, 1)
        ),
        max_size=4,
    ).map(tuple),
    equal_suffices=st.booleans(),
)
gates = st.builds(
    Gate,
    min_recall=st.floats(0, 20),
    max_latency_ms=st.none() | st.floats(1, 100),
    max_size_mib=st.none() | st.floats(1, 1000),
    margin=st.floats(0.1, 3),
    min_improvement=st.floats(0, 2),
    promote_equal=st.booleans(),
)


@given(evidences, gates)
def test_what_is_promoted_keeps_every_rule(evidence: Evidence, gate: Gate) -> None:
    if decide(evidence, gate).verdict != "promoted":
        return
    gain, before = evidence.champion, evidence.champion_before or 0.0
    assert gain is not None
    assert evidence.champion_recall is not None
    assert gain.low >= -gate.margin
    assert gain.mean >= gate.min_improvement or (gate.promote_equal and evidence.equal_suffices)
    assert evidence.recall >= gate.min_recall
    assert evidence.recall >= evidence.chance + gate.min_above_chance
    assert evidence.champion_recall >= gate.collapse * before
    assert gate.max_latency_ms is None or evidence.latency_ms <= gate.max_latency_ms
    assert gate.max_size_mib is None or evidence.size_mib <= gate.max_size_mib
    assert evidence.vanilla is None or evidence.vanilla.low >= -gate.margin
    assert all(part.p > 0.05 / len(evidence.slices) for part in evidence.slices)


@given(evidences, gates, st.floats(0, 5))
def test_a_larger_gain_is_never_worse(evidence: Evidence, gate: Gate, more: float) -> None:
    gain = evidence.champion
    assert gain is not None
    better = Gain(gain.mean + more, gain.low + more, gain.high + more)
    if decide(evidence, gate).promotes:
        assert decide(replace(evidence, champion=better), gate).promotes


@given(evidences, gates)
def test_undecided_says_more_images_than_there_are(evidence: Evidence, gate: Gate) -> None:
    decision = decide(evidence, gate)
    if decision.verdict == "undecided":
        assert decision.images_needed is not None
        assert decision.images_needed > evidence.images
        assert f"{decision.images_needed:,} gate images" in decision.reason


@given(evidences, gates)
def test_force_always_promotes_and_keeps_what_the_gate_said(evidence: Evidence, gate: Gate) -> None:
    forced, plain = decide(evidence, gate, "the old one is gone"), decide(evidence, gate)
    assert forced.verdict == "forced"
    assert forced.reason == f"the old one is gone (the gate says {plain.verdict}: {plain.reason})"


@pytest.mark.parametrize(
    ("changes", "verdict", "words"),
    [
        ({}, "promoted", "+2.0 [+0.5, +3.5] points of R@1 against the champion"),
        ({"champion": None, "champion_recall": None}, "promoted", "the first version, R@1 42.0 %"),
        ({"recall": 3.0, "champion": None, "champion_recall": None}, "refused", "R@1 3.0 % is"),
        ({"recall": 11.0, "chance": 10.0}, "refused", "below 12.0 %"),
        ({"champion_recall": 1.0}, "refused", "1.0 % on the gate split, against 41.0 % when it"),
        ({"champion_recall": 20.0}, "refused", "the data is at fault"),
        ({"champion_recall": 3.0, "champion_before": None}, "refused", "the data is at fault"),
        ({"vanilla": Gain(-2.8, -5.6, 0.0)}, "refused", "may be worse than vanilla"),
        ({"champion": Gain(0.8, -2.0, 3.6)}, "undecided", "about 2,420 gate images would tell"),
        ({"champion": Gain(0.2, -0.5, 0.9)}, "refused", "no gain of 0.5: +0.2 [-0.5, +0.9]"),
        ({"champion": Gain(-2.0, -3.0, -1.0)}, "refused", "no gain"),
    ],
)
def test_verdicts(changes: dict[str, object], verdict: str, words: str) -> None:
    decision = decide(replace(GOOD, **changes), GATE)  # type: ignore[arg-type]
    assert decision.verdict == verdict
    assert words in decision.reason


def test_limits_of_a_slow_and_of_a_large_model() -> None:
    slow = decide(GOOD, Gate(max_latency_ms=10.0))
    assert (slow.verdict, slow.reason) == (
        "refused",
        "a query takes 20 ms, more than gate.max_latency_ms 10",
    )
    large = decide(GOOD, Gate(max_size_mib=30.0))
    assert large.reason == "the package has 40 MiB, more than gate.max_size_mib 30"


def test_equal_suffices_where_data_has_grown() -> None:
    equal = replace(GOOD, champion=Gain(0.0, -0.9, 0.9), equal_suffices=True)
    assert decide(equal, Gate(promote_equal=True)).verdict == "promoted"
    assert decide(equal, GATE).verdict == "refused"
    not_yet = replace(equal, equal_suffices=False)
    assert decide(not_yet, Gate(promote_equal=True)).verdict == "refused"


def test_slices_are_corrected_for_their_number() -> None:
    lost = SliceGain("short captions", 60, Gain(-9.0, -14.0, -4.0), 0.02)
    one = decide(replace(GOOD, slices=(lost,)), GATE)
    assert one.verdict == "refused"
    assert "60 images: short captions (-9.0 [-14.0, -4.0])" in one.reason
    three = decide(replace(GOOD, slices=(lost, *GOOD.slices * 2)), GATE)
    assert three.verdict == "promoted"


@given(st.integers(10, 5000), st.floats(-0.9, 3), st.floats(0.1, 9))
def test_images_needed_bring_the_bound_to_the_margin(
    images: int, mean: float, half_width: float
) -> None:
    needed = images_needed(images, Gain(mean, mean - half_width, mean + half_width), 1.0)
    assert mean - half_width * (images / needed) ** 0.5 >= -1.0 - 1e-9


def test_gains_of_the_images_and_of_their_parts() -> None:
    """Half of the images, the long ones, are lost altogether; the others stay hits."""
    n = 120
    owner, texts = np.arange(n), np.eye(n)
    long = np.arange(n) < n // 2
    broken = np.where(long[:, None], np.roll(texts, 1, axis=0), texts)
    before, after = retrieval_ranks(texts, texts, owner), retrieval_ranks(broken, texts, owner)
    slices = {"long": long, "short": ~long, "few": np.arange(n) < 10}
    gain, parts = gains(before, after, owner, slices, Gate(bootstrap_samples=200))
    assert gain.mean == pytest.approx(-50, abs=1)
    assert gain.low < -50 < gain.high
    assert [(part.name, part.images) for part in parts] == [("long", 60), ("short", 60)]
    assert parts[0].gain.mean == pytest.approx(-100, abs=1)
    assert parts[0].p == pytest.approx(1 / 201)
    assert parts[1].gain.mean == pytest.approx(0, abs=1)
    assert parts[1].p > 0.5
