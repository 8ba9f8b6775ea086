"""The gate over simulated years of weekly retraining, against the rule "the higher score wins".

    python benchmarks/gate.py

Each history has a champion and 52 challengers, one a week. Their true R@1 is known: that of the
champion plus an effect, plus the noise of a seed. What is seen are hits and misses on the gate
images, which stay the same all year. An image is a hit of a model, one way, when

    difficulty of the image + quality of the model + noise of image and model > 0,

so that two models of equal quality disagree on about 15 % of the queries, as two seeds of `scenes`
do. The gate decides as `structxlip register` does: resampled images, four slices, ``gate:`` of
params.yaml. The rule that it replaces promotes whatever scores higher.

Columns:
    true effect      of all challengers of a history, on R@1 in points
    rule             the gate, or `score > best`
    worse by more    share of the challengers that are truly worse than their champion by more than
                     ``gate.margin`` and are promoted, in percent
    worse            the same of all that are truly worse
    better by 1      share of the challengers that are truly better by a point and are promoted
    after a year     the champion's true R@1 at the end less that at the beginning, in points: mean,
                     and the worst of 40 histories
A second table has the power: how often one challenger is promoted, by its true gain and by the
number of gate images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from script import new_parser, parse, print_header, print_row
from structxlip.config.gate import Gate
from structxlip.evaluation.statistics import Gain
from structxlip.tracking.gate import Evidence, SliceGain, decide, p_not_lost

SMOKE = {"histories": 4, "weeks": 3, "images": 200, "power": [0.0, 8.0], "samples": 200}
RECALL = 41.0  # of the first champion, in percent, as on `scenes`
SHARED = 0.9  # of the variance of a hit that all models share
SEED_SD = 0.5  # of the true R@1 between seeds, in points
SLICES = 4
NORMAL = NormalDist()
# What an effect does to the true R@1 of the slices, [SLICES], in points. A share
# of poisoned captions takes the same share of the recall.
EFFECTS: dict[str, NDArray[np.float64]] = {
    "none": np.zeros(SLICES),
    "+1": np.full(SLICES, 1.0),
    "+3": np.full(SLICES, 3.0),
    "-1, all of it on one slice": np.array([-4.0, 0.0, 0.0, 0.0]),
    "-2, all of it on one slice": np.array([-8.0, 0.0, 0.0, 0.0]),
    **{f"{s} % poisoned": np.full(SLICES, -RECALL * s / 100) for s in (5, 10, 20, 30, 50)},
}
Hits = NDArray[np.float32]


class World:
    """Gate images of many histories, and what models make of them."""

    def __init__(self, histories: int, images: int, rng: np.random.Generator) -> None:
        self.rng, self.shape = rng, (histories, 2, images)
        image = rng.normal(size=(histories, 1, images))
        way = rng.normal(size=self.shape)
        self.difficulty = np.sqrt(SHARED / 2).astype(np.float32) * (image + way).astype(np.float32)
        self.slice_of = np.arange(images) % SLICES

    def hits(self, recall: NDArray[np.float64]) -> Hits:
        """The mean hit of both ways, ``[histories, images]``, of models with a true R@1 in percent.

        ``recall`` is ``[histories, SLICES]``.
        """
        share = np.clip(recall, 0.01, 99.99) / 100
        quality = np.vectorize(NORMAL.inv_cdf)(share).astype(np.float32)[:, None, self.slice_of]
        noise = self.rng.standard_normal(self.shape, np.float32) * np.float32(np.sqrt(1 - SHARED))
        found: Hits = (self.difficulty + quality + noise > 0).mean(axis=1, dtype=np.float32)
        return found


class Bootstrap:
    """The resampling of the gate for all histories at once, with the same draws."""

    def __init__(self, world: World, samples: int, rng: np.random.Generator) -> None:
        n = world.shape[-1]
        draws = rng.multinomial(n, np.full(n, 1 / n), size=samples)
        self.draws = np.vstack([np.ones(n), draws]).astype(np.float32)
        self.parts = [np.ones(n, bool), *(world.slice_of == k for k in range(SLICES))]

    def __call__(self, gain: Hits) -> list[NDArray[np.float32]]:
        """Gains in points, ``[1 + samples, histories]``: of all images, and of each slice."""
        found = []
        for part in self.parts:
            drawn = self.draws[:, part]
            found.append(100 * (drawn @ gain[:, part].T) / drawn.sum(axis=1, keepdims=True))
        return found


def by_gate(
    gate: Gate, bootstrap: Bootstrap, before: Hits, after: Hits, at_promotion: NDArray[Any]
) -> NDArray[np.bool_]:
    """Promotions by the gate: boolean ``[histories]``, one challenger in each history."""
    drawn = bootstrap(after - before)
    bounds = [np.percentile(values[1:], [2.5, 97.5], axis=0) for values in drawn]
    images = [int(part.sum()) for part in bootstrap.parts]

    def gain(part: int, history: int) -> Gain:
        low, high = bounds[part][:, history]
        return Gain(float(drawn[part][0, history]), float(low), float(high))

    promoted = []
    for history in range(len(after)):
        slices = tuple(
            SliceGain(
                f"slice {part}",
                images[part],
                gain(part, history),
                p_not_lost(drawn[part][:, history], gate),
            )
            for part in range(1, SLICES + 1)
        )
        evidence = Evidence(
            images=images[0],
            recall=100 * float(after[history].mean()),
            chance=100 / images[0],
            champion=gain(0, history),
            champion_recall=100 * float(before[history].mean()),
            champion_before=float(at_promotion[history]),
            slices=slices,
        )
        promoted.append(decide(evidence, gate).promotes)
    return np.array(promoted)


def by_score(before: Hits, after: Hits) -> NDArray[np.bool_]:
    """Promotions by the higher score: boolean ``[histories]``."""
    found: NDArray[np.bool_] = after.mean(axis=1) > before.mean(axis=1)
    return found


Rule = Callable[[Hits, Hits, NDArray[Any]], NDArray[np.bool_]]


def year(
    world: World, effect: NDArray[np.float64], rule: Rule, weeks: int
) -> tuple[list[tuple[NDArray[Any], NDArray[Any]]], NDArray[np.float64]]:
    """Weekly challengers: their true gains and promotions by week, and what the year brought."""
    histories = world.shape[0]
    champion = np.full((histories, SLICES), RECALL)
    first, hits = champion.copy(), world.hits(champion)
    at_promotion = 100 * hits.mean(axis=1)
    weekly = []
    for _ in range(weeks):
        seed = world.rng.normal(scale=SEED_SD, size=(histories, 1))
        challenger = np.clip(RECALL + effect + seed, 0, 100)
        after = world.hits(challenger)
        promoted = rule(hits, after, at_promotion)
        weekly.append(((challenger - champion).mean(axis=1), promoted))
        champion = np.where(promoted[:, None], challenger, champion)
        hits = np.where(promoted[:, None], after, hits)
        at_promotion = np.where(promoted, 100 * after.mean(axis=1), at_promotion)
    return weekly, (champion - first).mean(axis=1)


def percent(promoted: NDArray[np.bool_]) -> str:
    """A share in percent; a dash where nothing is counted."""
    return f"{100 * promoted.mean():.1f}" if len(promoted) else "-"


def years(options: Any, gate: Gate) -> None:
    """Print the table of the effects."""
    print_header("true effect", "rule", "worse by more", "worse", "better by 1", "after a year")
    for name, effect in EFFECTS.items():
        for rule_name in ("gate", "score > best"):
            rng = np.random.default_rng(0)
            world = World(options.histories, options.images, rng)
            bootstrap = Bootstrap(world, options.samples, rng)

            def rule(
                before: Hits,
                after: Hits,
                at_promotion: NDArray[Any],
                bootstrap: Bootstrap = bootstrap,
                gated: bool = rule_name == "gate",
            ) -> NDArray[np.bool_]:
                if gated:
                    return by_gate(gate, bootstrap, before, after, at_promotion)
                return by_score(before, after)

            weekly, brought = year(world, effect, rule, options.weeks)
            gain, promoted = (np.concatenate(found) for found in zip(*weekly, strict=True))
            shares = [gain < -gate.margin, gain < 0, gain >= 1]
            worst = float(np.percentile(brought, 2.5))
            print_row(
                name,
                rule_name,
                *(percent(promoted[chosen]) for chosen in shares),
                f"{brought.mean():+.1f}, {worst:+.1f}",
            )


def power(options: Any, gate: Gate, sizes: Iterable[int]) -> None:
    """Print how often one challenger is promoted, in percent, by true gain and gate images."""
    sizes = list(sizes)
    print_header("true gain", *(f"{size:,} images" for size in sizes))
    for true_gain in options.power:
        cells = []
        for size in sizes:
            rng = np.random.default_rng(1)
            world = World(options.histories, size, rng)
            bootstrap = Bootstrap(world, options.samples, rng)
            champion = np.full((options.histories, SLICES), RECALL)
            before, after = world.hits(champion), world.hits(champion + true_gain)
            recall = 100 * before.mean(axis=1)
            cells.append(percent(by_gate(gate, bootstrap, before, after, recall)))
        print_row(f"{true_gain:+g}", *cells)


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--histories", type=int, default=1000)
    parser.add_argument("--weeks", type=int, default=52)
    parser.add_argument("--images", type=int, default=1000, help="gate images")
    parser.add_argument("--samples", type=int, default=1000, help="resamplings")
    parser.add_argument(
        "--power", type=float, nargs="+", default=[-2, -1, 0, 0.5, 1, 1.5, 2, 3, 4, 6]
    )
    options = parse(parser, SMOKE)
    gate = Gate(bootstrap_samples=options.samples)
    years(options, gate)
    print()
    power(options, gate, (200, 500, 1000, 2000) if options.images >= 1000 else (options.images,))


if __name__ == "__main__":
    main()
