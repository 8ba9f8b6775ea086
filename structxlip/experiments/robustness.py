"""`structxlip robustness`: recall when the appearance of the test images changes.

The models are those of `structxlip compare`. The training images stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config import Edges, Params
from structxlip.cues import ConfiguredCue, usable_or_blank
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.data.shards import shards
from structxlip.evaluation.appearance import CHANGES, TITLES
from structxlip.evaluation.retrieval import Ranks
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.experiments.compare import CONTROLS, LABELS, ROWS, planned_trials
from structxlip.experiments.rows import METHOD, VANILLA
from structxlip.experiments.summary import WIDE, about, draw_gains
from structxlip.experiments.tables import CACHE, Table, pictures_key, publish
from structxlip.experiments.trials import Outcome, Trial, run_trials, trials_of
from structxlip.features.views import OtherEdges, ViewName
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.ray_map import map_units
from structxlip.incremental.row_cache import signature
from structxlip.models.build import load_model
from structxlip.models.edge_branch import MapReader
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import ImageTower
from structxlip.reports.comparison import gain_text
from structxlip.reports.pictures import figure

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 64
MEAN = "mean_of_changes"
CHANGED = [name for name in CHANGES if name != "unchanged"]


def robustness(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Measure every row of `compare` under every change, and write ``robustness.json`` and
    ``robustness.md`` to ``reports/<dataset>``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    trials = planned_trials(params, dataset, seeds)
    outcomes = run_trials(trials, trials_of(dataset), f"train for robustness {dataset}")
    changed = _changed_tests(params, dataset, trials[0].folder(trials_of(dataset)))
    ranks: dict[str, dict[str, list[Ranks]]] = {change: {} for change in CHANGES}
    for trial, outcome in zip(trials, outcomes, strict=True):
        model = load_model(trial.folder(trials_of(dataset)))
        for change, test in changed.items():
            ranks[change].setdefault(trial.row, []).append(test.ranks(model, trial, outcome))
    captions = outcomes[0].fused.text_to_image
    samples = params.recipe_settings.evaluation.bootstrap_samples
    rows = summarised(ranks, captions, samples=samples, seed=params.seed)
    found = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds), "rows": rows}
    gains = {title(name): cell["over_vanilla"] for name, cell in rows[METHOD].items()}
    drawn = figure(
        lambda axes: draw_gains(axes[0], gains, "gain over vanilla, points of R@1"), 1, WIDE
    )
    verdict = f"{gain_text(gains[title(MEAN)], 'points of R@1')} over vanilla under changes"
    publish("robustness", params, found, table=table(found), verdict=verdict, figure=drawn)


def title(change: str) -> str:
    """The name of a change for readers."""
    return TITLES.get(change, "mean of the changes")


@dataclass(frozen=True)
class ChangedTest:
    """The test split after one change: ``n`` images as each branch reads them.

    Attributes:
        image: inputs of the image branch, ``[n, …]``, as a feature store holds them.
        edges: inputs of the edge branch, ``[n, …]``, as ``packed`` makes them of edge maps.
        grey: the same of the control `grey`.
    """

    image: NDArray[Any]
    edges: NDArray[Any]
    grey: NDArray[Any]

    def inputs(self, view: ViewName, order: NDArray[np.int64]) -> NDArray[Any]:
        """The inputs of the second branch. ``order [n]``: whose edges the view `other_edges`
        gives to each image."""
        if view == "image":
            return self.image
        held = self.grey if view == "grey" else self.edges
        return unpacked(held[order] if view == "other_edges" else held)

    def ranks(self, model: StructXLIP, trial: Trial, outcome: Outcome) -> Ranks:
        """The ranks with the captions and the α of a trial."""
        run, order = trial.run, np.arange(len(self.image))
        if run.view == "other_edges":
            store = run.store()
            rows = store.rows("test")
            other = OtherEdges.exchange(store.splits, run.params.seed)
            order = np.searchsorted(rows, other[rows])
        inputs = self.inputs(run.view, order)
        blocks = [
            model.embed_images(
                torch.from_numpy(self.image[i : i + BLOCK]),
                torch.from_numpy(inputs[i : i + BLOCK]) if outcome.alpha else None,
                outcome.alpha,
            ).numpy()
            for i in range(0, len(self.image), BLOCK)
        ]
        return replace(outcome.fused, images=np.concatenate(blocks)).ranks()


def packed(inputs: NDArray[np.float32]) -> NDArray[Any]:
    """Inputs of an edge branch in less space: maps in [0, 1] as bytes, features by half."""
    is_map = inputs.ndim == 4
    return np.rint(255 * inputs).astype(np.uint8) if is_map else inputs.astype(np.float16)


def unpacked(held: NDArray[Any]) -> NDArray[np.float32]:
    """What ``packed`` made, as the branch reads it."""
    inputs = held.astype(np.float32)
    return inputs / np.float32(255) if held.dtype == np.uint8 else inputs


def _changed_tests(params: Params, dataset: str, model: Path) -> dict[str, ChangedTest]:
    """The test split after every change. What was made before is read from the cache."""
    pairs, settings = (DATA / dataset / "pairs").resolve(), params.recipe_settings.edges
    encoder = json.dumps(params.recipe_settings.model.encoder_settings(), sort_keys=True)
    code = Path(__file__).parents[1]
    key = signature(
        *(pictures_key(pairs), encoder, settings.model_dump_json()),
        *(code / "evaluation/appearance.py", code / "cues", code / "data/images.py"),
    )
    folder = (CACHE / dataset / f"changed-{key[:16]}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / f"{i}.npz" for i, name in enumerate(CHANGES)}
    left = [
        _Unit(name, file, pairs, settings, model)
        for name, file in files.items()
        if not file.exists()
    ]
    for _ in map_units(
        left,
        _make_worker,
        description=f"change {dataset}",
        samples=lambda _: 1,
        name=lambda unit: unit.change,
    ):
        pass
    found = {}
    for name, file in files.items():
        with np.load(file, allow_pickle=False) as arrays:
            found[name] = ChangedTest(arrays["image"], arrays["edges"], arrays["grey"])
    return found


@dataclass(frozen=True)
class _Unit:
    """One change, where its result goes, and what it is made from."""

    change: str
    file: Path
    pairs: Path
    edges: Edges
    model: Path


def _make_worker() -> Callable[[_Unit], pa.Table]:
    import pyarrow as pa

    def work(unit: _Unit) -> pa.Table:
        found = change_test(unit.change, unit.pairs, unit.edges, load_model(unit.model))
        temporary = unit.file.with_name(f".{unit.file.name}.tmp.npz")
        np.savez(temporary, image=found.image, edges=found.edges, grey=found.grey)
        temporary.replace(unit.file)
        return pa.table({"file": [str(unit.file)]})

    return work


def change_test(change: str, pairs: Path, settings: Edges, model: StructXLIP) -> ChangedTest:
    """Apply a change to the test images of a pair store, and encode them.

    Args:
        change: a key of ``CHANGES``.
        pairs: the pair store.
        settings: of the edge maps.
        model: its encoder reads the images.
    """
    import pyarrow.dataset as ds

    encoder, cue = model.encoders()[0], ConfiguredCue(settings)
    tower = encoder if settings.tower_grid is not None else None
    assert tower is None or isinstance(tower, ImageTower), "a trained CLIP has no tower_grid"
    read = MapReader(tower, settings.tower_grid or 1)
    images, edges, greys = [], [], []
    test = ds.dataset(shards(pairs)).to_batches(
        columns=["image"], filter=ds.field("split") == "test", batch_size=BLOCK
    )
    number = 0
    for batch in test:
        pixels = []
        for data in batch["image"].to_pylist():
            pixels.append(CHANGES[change](decode_rgb(data), np.random.default_rng(number)))
            number += 1
        if not pixels:
            continue
        images.append(encoder.encode(pixels))
        edges.append(packed(read([usable_or_blank(cue(rgb), settings) for rgb in pixels])))
        size, blur = settings.size_px, settings.blur_sigma
        grey = [grey_square(rgb, size_px=size, blur_sigma=blur) for rgb in pixels]
        greys.append(packed(_read_grey(grey, tower, settings.tower_grid or 1)))
    return ChangedTest(np.concatenate(images), np.concatenate(edges), np.concatenate(greys))


def _read_grey(
    grey: Sequence[NDArray[np.uint8]], tower: ImageTower | None, grid: int
) -> NDArray[np.float32]:
    """Grey pictures as the branch of the control `grey` reads them."""
    if tower is None:
        return np.stack(grey)[:, None].astype(np.float32) / np.float32(255)
    return tower.encode_patches([np.repeat(one[..., None], 3, axis=2) for one in grey], grid)


def summarised(
    ranks: dict[str, dict[str, list[Ranks]]],
    captions: NDArray[np.int64],
    *,
    samples: int,
    seed: int,
) -> dict[str, Any]:
    """Mean R@1 and gains for each row and change, and for the mean of all changes.

    Args:
        ranks: by change and row, one for each seed.
        captions: the image of each caption.
        samples: resamplings of the test images.
        seed: of the resamplings.
    """
    columns = {change: [change] for change in ranks} | {MEAN: CHANGED}

    def gain(row: str, over: str, changes: list[str]) -> dict[str, float]:
        before, after = ([x for c in changes for x in ranks[c][name]] for name in (over, row))
        return bootstrap_delta(before, after, captions, samples=samples, seed=seed)["R@1"]

    rows: dict[str, Any] = {}
    for row in ranks[next(iter(ranks))]:
        for column, changes in columns.items():
            found = [mean_recall(x.recall((1,))) for c in changes for x in ranks[c][row]]
            cell: dict[str, Any] = {"R@1": float(np.mean(found))}
            if row != VANILLA:
                cell["over_vanilla"] = gain(row, VANILLA, changes)
            if row in CONTROLS:
                cell["structxlip_over"] = gain(METHOD, row, changes)
            rows.setdefault(row, {})[column] = cell
    return rows


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``robustness.json`` for readers: a row for each change."""
    names = [name for name in ROWS if name in found["rows"]]
    controls = [name for name in CONTROLS if name in found["rows"]]
    rows = []
    for change in found["rows"][VANILLA]:
        cells = {name: found["rows"][name][change] for name in names}
        best = max(controls, key=lambda name: cells[name]["R@1"])
        gains = cells[METHOD]["over_vanilla"], cells[best]["structxlip_over"]
        shown = [f"{cell['R@1']:.1f}" for cell in cells.values()]
        rows.append([title(change), *shown, *map(gain_text, gains)])
    return Table(
        f"{about(found)} Mean R@1 of both ways in percent; gains of StructXLIP in points with "
        f"their 95 % bootstrap interval. The test images are changed, the training images are not.",
        ["test images", *(LABELS[name] for name in names), "over vanilla", "over the best control"],
        rows,
    )
