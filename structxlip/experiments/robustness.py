"""`structxlip robustness`: recall when the appearance of the test images changes.

The models are those of `structxlip compare`. The training images stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structxlip.config import Edges, Params
from structxlip.cues import ConfiguredCue, usable_or_blank
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.data.shards import shards
from structxlip.evaluation.appearance import CHANGES, TITLES
from structxlip.evaluation.embedding import Parts, Scorer
from structxlip.evaluation.protocol import Scorers
from structxlip.evaluation.retrieval import Ranks
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.experiments.compare import CONTROLS, LABELS, ROWS, planned_trials
from structxlip.experiments.rows import BOTH_ARMS, METHOD, VANILLA, plan
from structxlip.experiments.summary import about
from structxlip.experiments.tables import CACHE, Table, pictures_key, publish
from structxlip.experiments.trials import Trial, run_trials, trials_of
from structxlip.features.views import OtherEdges, ViewName
from structxlip.incremental.artifacts import DATA
from structxlip.incremental.ray_map import map_units
from structxlip.incremental.row_cache import signature
from structxlip.models.build import load_model
from structxlip.models.edge_branch import MapReader
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import ImageTower
from structxlip.reports.comparison import gain_text
from structxlip.reports.pictures import WIDE, draw_gains, figure
from structxlip.training.assembly import open_view

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 64
MEAN = "mean_of_changes"
# Both arms trained on pictures of changed colours too: the obvious way to meet such a change.
COLOUR_COPIES = 2
RECOLOURED = {
    name: replace(
        row, label=f"{row.label}, colours changed in training", colour_copies=COLOUR_COPIES
    )
    for name, row in (
        ("vanilla_colours", BOTH_ARMS[VANILLA]),
        ("structxlip_colours", BOTH_ARMS[METHOD]),
    )
}
CHANGED = [name for name in CHANGES if name != "unchanged"]
UNCHANGED, UNDER_CHANGE = "unchanged", "under_change"  # where validation chooses α


def robustness(params: Params, dataset: str, seeds: Sequence[int]) -> None:
    """Measure every row of `compare` under every change, and write ``robustness.json`` and
    ``robustness.md`` to ``reports/<dataset>``.

    Raises ``UserError`` when the features are not made, or a training fails.
    """
    trials = planned_trials(params, dataset, seeds)
    if params.recipe_settings.model.frozen:
        trials += plan(params, dataset, RECOLOURED, seeds)
    outcomes = run_trials(trials, trials_of(dataset), f"train for robustness {dataset}")
    changed = _changed_splits(params, dataset, trials[0].folder(trials_of(dataset)))
    recipe = params.recipe_settings
    scorers, samples = Scorers.of(recipe), recipe.evaluation.bootstrap_samples
    # The ranks under the scorer that validation chose: on unchanged images, and under all changes.
    ranks: dict[str, dict[str, dict[str, list[Ranks]]]] = {
        way: {change: {} for change in CHANGES} for way in (UNCHANGED, UNDER_CHANGE)
    }
    chosen: dict[str, dict[str, list[Scorer]]] = {UNCHANGED: {}, UNDER_CHANGE: {}}
    for trial, outcome in zip(trials, outcomes, strict=True):
        model = load_model(trial.folder(trials_of(dataset)))
        store = trial.run.store()
        view = open_view(trial.run, store)
        unchanged = {split: scorers.embed(model, store, view, split) for split in ("val", "test")}
        of_val, of_test = (
            {name: of[split].embedded(model, trial, parts) for name, of in changed.items()}
            for split, parts in unchanged.items()
        )
        robust = scorers.choose(*(of_val[name] for name in CHANGED))
        for way, scorer in ((UNCHANGED, outcome.scorer), (UNDER_CHANGE, robust.scorer)):
            chosen[way].setdefault(trial.row, []).append(scorer)
            for change, parts in of_test.items():
                found_ranks = parts.scored(scorer).ranks()
                ranks[way][change].setdefault(trial.row, []).append(found_ranks)
    captions = outcomes[0].scored.text_to_image
    rows, robust_rows = (
        summarised(of_way, captions, samples=samples, seed=params.seed) for of_way in ranks.values()
    )
    found = {"dataset": dataset, "recipe": params.recipe, "seeds": list(seeds), "rows": rows}
    found["rows_alpha_under_change"] = robust_rows
    for name in ("alpha", "beta"):
        found[f"{name}s"] = {
            way: {row: [getattr(scorer, name) for scorer in of] for row, of in rows.items()}
            for way, rows in chosen.items()
        }
    gains = {title(name): cell["over_vanilla"] for name, cell in rows[METHOD].items()}
    drawn = figure(
        lambda axes: draw_gains(axes[0], gains, "gain over vanilla, points of R@1"), 1, WIDE
    )
    robust_gain = robust_rows[METHOD][MEAN]["over_vanilla"]
    verdict = (
        f"{gain_text(gains[title(MEAN)], 'points of R@1')} over vanilla under changes; "
        f"{gain_text(robust_gain)} where α and β are chosen under them"
    )
    publish("robustness", params, found, table=table(found), verdict=verdict, figure=drawn)


def title(change: str) -> str:
    """The name of a change for readers."""
    return TITLES.get(change, "mean of the changes")


@dataclass(frozen=True)
class ChangedSplit:
    """A split after one change: ``n`` images as each branch reads them.

    Attributes:
        split: its name.
        image: inputs of the image branch, ``[n, …]``, as a feature store holds them.
        edges: inputs of the edge branch, ``[n, …]``, as ``packed`` makes them of edge maps.
        grey: the same of the control `grey`.
        colour: the same of the control `image`, where a frozen tower reads the edge maps.
    """

    split: str
    image: NDArray[Any]
    edges: NDArray[Any]
    grey: NDArray[Any]
    colour: NDArray[Any] | None = None

    def inputs(self, view: ViewName, order: NDArray[np.int64]) -> NDArray[Any]:
        """The inputs of the second branch. ``order [n]``: whose edges the view `other_edges`
        gives to each image."""
        if view == "image":
            return self.image if self.colour is None else unpacked(self.colour)
        held = self.grey if view == "grey" else self.edges
        return unpacked(held[order] if view == "other_edges" else held)

    def embedded(self, model: StructXLIP, trial: Trial, unchanged: Parts) -> Parts:
        """Embed the images with both branches of a trained model.

        Args:
            model: the trained model.
            trial: its training, whose view says what the second branch reads.
            unchanged: the split without the change.
        """
        run, order = trial.run, np.arange(len(self.image))
        if run.view == "other_edges":
            store = run.store()
            rows = store.rows(self.split)
            other = OtherEdges.exchange(store.splits, run.params.seed)
            order = np.searchsorted(rows, other[rows])
        images = _in_blocks(partial(model.embed_images, edges=None, alpha=0.0), self.image)
        found = replace(unchanged, images=images)
        if unchanged.edges is not None:
            inputs = self.inputs(run.view, order)
            found = replace(found, edges=_in_blocks(model.embed_edges, inputs))
            if unchanged.local:
                patches = torch.from_numpy(_in_blocks(model.embed_patches, inputs))
                found = replace(found, local=replace(unchanged.local, patches=patches))
        return found


def _in_blocks(embed: Callable[[Tensor], Tensor], inputs: NDArray[Any]) -> NDArray[np.float32]:
    blocks = [inputs[i : i + BLOCK] for i in range(0, len(inputs), BLOCK)]
    return torch.cat([embed(torch.from_numpy(block)) for block in blocks]).numpy()


def packed(inputs: NDArray[np.float32]) -> NDArray[Any]:
    """Inputs of an edge branch in less space: maps in [0, 1] as bytes, features by half."""
    is_map = inputs.ndim == 4
    return np.rint(255 * inputs).astype(np.uint8) if is_map else inputs.astype(np.float16)


def unpacked(held: NDArray[Any]) -> NDArray[np.float32]:
    """Turn the output of ``packed`` back into inputs of an edge branch, of the same shape."""
    inputs = held.astype(np.float32)
    return inputs / np.float32(255) if held.dtype == np.uint8 else inputs


def _changed_splits(
    params: Params, dataset: str, model: Path
) -> dict[str, dict[str, ChangedSplit]]:
    """The validation and the test split after every change, by change and split. What was made
    before is read from the cache."""
    pairs, settings = (DATA / dataset / "pairs").resolve(), params.recipe_settings.edges
    encoder = json.dumps(params.recipe_settings.model.encoder_settings(), sort_keys=True)
    code = Path(__file__).parents[1]
    key = signature(
        *(pictures_key(pairs), encoder, settings.model_dump_json()),
        *(code / "evaluation/appearance.py", code / "cues", code / "data/images.py"),
    )
    folder = (CACHE / dataset / f"changed-{key[:16]}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    units = [
        _Unit(name, split, folder / f"{split}-{number}.npz", pairs, settings, model)
        for number, name in enumerate(CHANGES)
        for split in ("val", "test")
    ]
    for _ in map_units(
        [unit for unit in units if not unit.file.exists()],
        _make_worker,
        description=f"change {dataset}",
        samples=lambda _: 1,
        name=lambda unit: f"{unit.change}, {unit.split}",
    ):
        pass
    found: dict[str, dict[str, ChangedSplit]] = {}
    for unit in units:
        with np.load(unit.file, allow_pickle=False) as arrays:
            read = ChangedSplit(unit.split, **arrays)
        found.setdefault(unit.change, {})[unit.split] = read
    return found


@dataclass(frozen=True)
class _Unit:
    """One change of a split, where its result goes, and what it is made from."""

    change: str
    split: str
    file: Path
    pairs: Path
    edges: Edges
    model: Path


def _make_worker() -> Callable[[_Unit], pa.Table]:
    import pyarrow as pa

    def work(unit: _Unit) -> pa.Table:
        found = change_split(
            unit.change, unit.split, unit.pairs, unit.edges, load_model(unit.model)
        )
        temporary = unit.file.with_name(f".{unit.file.name}.tmp.npz")
        arrays = {key: value for key, value in vars(found).items() if value is not None}
        np.savez(temporary, **{key: value for key, value in arrays.items() if key != "split"})
        temporary.replace(unit.file)
        return pa.table({"file": [str(unit.file)]})

    return work


def change_split(
    change: str, split: str, pairs: Path, settings: Edges, model: StructXLIP
) -> ChangedSplit:
    """Apply a change to the images of a split of a pair store, and encode them.

    Args:
        change: a key of ``CHANGES``.
        split: the name of the split.
        pairs: the pair store.
        settings: of the edge maps.
        model: its encoder reads the images.
    """
    import pyarrow.dataset as ds

    encoder, cue = model.encoders()[0], ConfiguredCue(settings)
    tower = encoder if settings.tower_grid is not None else None
    assert tower is None or isinstance(tower, ImageTower), "a trained CLIP has no tower_grid"
    read = MapReader(tower, settings.tower_grid or 1)
    images, edges, greys, colours = [], [], [], []
    of_split = ds.dataset(shards(pairs)).to_batches(
        columns=["image"], filter=ds.field("split") == split, batch_size=BLOCK
    )
    number = 0
    for batch in of_split:
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
        if tower:
            colours.append(packed(tower.encode_patches(pixels, settings.tower_grid or 1)))
    return ChangedSplit(
        split,
        np.concatenate(images),
        np.concatenate(edges),
        np.concatenate(greys),
        np.concatenate(colours) if colours else None,
    )


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
            if row == "structxlip_colours":
                cell["over_vanilla_colours"] = gain(row, "vanilla_colours", changes)
            rows.setdefault(row, {})[column] = cell
    return rows


def table(found: Mapping[str, Any]) -> Table:
    """The numbers of ``robustness.json`` for readers: a row for each change."""
    labels = {name: LABELS[name] for name in ROWS} | {
        name: row.label for name, row in RECOLOURED.items()
    }
    names = [name for name in labels if name in found["rows"]]
    recoloured = found["rows"].get("structxlip_colours")
    rows = []
    for change in found["rows"][VANILLA]:
        shown = [f"{found['rows'][name][change]['R@1']:.1f}" for name in names]
        robust = found["rows_alpha_under_change"]
        cells = [f"{robust[METHOD][change]['R@1']:.1f}", *_gains(robust, change)]
        if recoloured:
            cells.append(gain_text(recoloured[change]["over_vanilla_colours"]))
        rows.append([title(change), *shown, *_gains(found["rows"], change), *cells])
    weights = {
        way: "; ".join(
            f"{letter} {', '.join(f'{one:g}' for one in dict.fromkeys(found[key][way][METHOD]))}"
            for letter, key in (("α", "alphas"), ("β", "betas"))
        )
        for way in (UNCHANGED, UNDER_CHANGE)
    }
    return Table(
        f"{about(found)} Mean R@1 of both ways in percent; gains of StructXLIP in points with "
        f"their 95 % bootstrap interval. The test images are changed, the training images are not. "
        f"Each row has the α and β that are best on unchanged validation images (StructXLIP: "
        f"{weights[UNCHANGED]}); in the last three columns all rows have those that are best in "
        f"the mean over changed ones (StructXLIP: {weights[UNDER_CHANGE]}).",
        [
            *("test images", *(labels[name] for name in names)),
            *("over vanilla", "over the best control"),
            *("StructXLIP, α and β under change", "over vanilla", "over the best control"),
            *(["colours changed in training: over vanilla"] if recoloured else []),
        ],
        rows,
    )


def _gains(rows: Mapping[str, Any], change: str) -> list[str]:
    """The gains of StructXLIP over vanilla and over the best control, for readers."""
    controls = [name for name in CONTROLS if name in rows]
    best = max(controls, key=lambda name: rows[name][change]["R@1"])
    gains = rows[METHOD][change]["over_vanilla"], rows[best][change]["structxlip_over"]
    return [gain_text(gain) for gain in gains]
