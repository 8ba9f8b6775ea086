"""The report of a dataset: one self-contained HTML page of tables, curves and pictures."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.data.shards import read_shards, shards
from structxlip.evaluation.chosen import best_on_validation
from structxlip.evaluation.cost import PARTS
from structxlip.evaluation.embedding import Embeddings
from structxlip.evaluation.protocol import Comparison
from structxlip.evaluation.slices import recall_by
from structxlip.features.store import FeatureStore
from structxlip.incremental.artifacts import MODELS
from structxlip.models.structxlip import model_digest
from structxlip.reports.attention import Attention
from structxlip.reports.comparison import (
    best_row,
    ceiling_sentence,
    comparison_table,
    gain_labels,
    gain_sentence,
    gain_text,
    ranking_table,
    validation_text,
)
from structxlip.reports.pictures import (
    WIDE,
    Pictures,
    data_url,
    draw_gains,
    figure,
    read_quarantine,
    render,
)
from structxlip.reports.provenance import VERSION_MARK, commit_of
from structxlip.reports.training_curves import (
    guessing,
    information_bounds,
    observations,
    recall_curve,
)
from structxlip.reports.training_settings import training_settings

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES, QUERIES, ANSWERS = 6, 3, 5


def write_report(
    path: Path,
    *,
    dataset: str,
    params: Params,
    comparison: Comparison,
    histories: dict[str, pd.DataFrame],
    store: FeatureStore,
    data: Path,
    attention: Attention | None = None,
    cost: dict[str, float] | None = None,
) -> None:
    """Write the report to ``path``, and its figures beside it: ``losses.svg``, ``recall.svg`` and
    ``gain.svg``.

    ``data`` is the folder of the dataset's artifacts; ``attention`` that of the chunks that name a
    labelled box, where the dataset has such boxes; ``cost`` the milliseconds of each part of an
    embedding.
    """
    rows = store.rows("test")
    examples = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
    grids = chosen_queries(comparison.test["structxlip"], rows)
    shown = {grid["image"] for grid in grids} | {
        row for grid in grids for row, _ in grid["answers"]
    }
    pointing = attention.examples() if attention else []
    shown |= {attention.chunks[number].row for number in pointing} if attention else set()
    wanted = sorted({*examples.tolist(), *shown})
    pictures = Pictures(data, np.array(wanted))
    pairs = {split: len(store.rows(split)) for split in ("train", "val")}
    train = params.recipe_settings.train.fitted(pairs["train"])
    batch = min(train.batch_size, pairs["train"])
    guesses = guessing(params, batch)
    figures = {
        "losses": figure(lambda axes: _draw_losses(axes, histories, guesses), 2),
        "recall": figure(lambda axes: _draw_recall(axes, histories), 1),
        "gain": figure(lambda axes: _draw_gain(axes, comparison.metrics), 1, WIDE),
    }
    arm = best_on_validation(comparison.metrics)
    start = _start(MODELS / dataset / arm)
    page = render(
        "report.html.j2",
        dataset=dataset,
        params=params,
        metrics=comparison.metrics,
        gains=gain_sentence(comparison.metrics),
        image_only=gain_text(comparison.metrics["delta_image_only"]["R@1"]),
        made={
            "at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "commit": commit_of(),
            "release": version("structxlip"),
            "model": (MODELS / dataset / arm).as_posix(),
            "version": VERSION_MARK,
            "digest": model_digest(MODELS / dataset / arm)[:12],
        },
        validation=validation_text(comparison.metrics),
        ceiling=ceiling_sentence(comparison.metrics),
        best=best_row(comparison.metrics),
        recall_table=comparison_table(comparison.metrics),
        ranking_table=ranking_table(comparison.metrics),
        strict_table=comparison_table(comparison.metrics, "strict/"),
        ingest=json.loads((data / "pairs" / "report.json").read_text()),
        quarantine=read_quarantine(data),
        **figures,
        slices=comparison.metrics["slices"],
        observations=observations(params, pairs, histories),
        bounds=information_bounds(params, batch, histories),
        cost=[(PARTS[name], milliseconds) for name, milliseconds in (cost or {}).items()],
        settings=training_settings(params, pairs["train"], histories, start),
        attention=[
            {
                "image": data_url(attention.draw(number, pictures.small(chunk.row))),
                "text": chunk.text,
            }
            for number in pointing
            if attention
            for chunk in [attention.chunks[number]]
        ],
        examples=[pictures.example(row) for row in examples.tolist()],
        queries=[
            {
                **grid,
                "text": pictures.captions(grid["image"])[grid["caption"]],
                "own": pictures.example(grid["image"]),
                "answers": [
                    {"image": pictures.thumbnail(row), "right": right}
                    for row, right in grid["answers"]
                ],
            }
            for grid in grids
        ],
    )
    path.write_text(page, encoding="utf-8")
    for name, svg in figures.items():
        path.with_name(f"{name}.svg").write_text(svg, encoding="utf-8")


def chosen_queries(test: Embeddings, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """The best, the typical and the worst captions of the test split, ``QUERIES`` of each, with the
    images that each ranks first. No two are of one image.

    Captions are sorted by the rank of the first right image, and those of equal rank by how much
    the best wrong image trails.
    """
    ranks = test.ranks().text_to_image
    margins = np.array(
        [
            np.max(scores[test.groups == group]) - np.max(scores[test.groups != group], initial=-1)
            for scores, group in (
                (test.scores(text), test.groups[test.text_to_image[text]])
                for text in range(len(test.texts))
            )
        ]
    )
    order = np.lexsort((-margins, ranks))
    middle = len(order) // 2
    typical = order[np.argsort(np.abs(np.arange(len(order)) - middle), kind="stable")]
    first = np.searchsorted(test.text_to_image, test.text_to_image)
    seen: set[int] = set()
    grids = []
    for kind, candidates in (("best", order), ("worst", order[::-1]), ("typical", typical)):
        left = QUERIES
        for text in candidates.tolist():
            owner = int(test.text_to_image[text])
            if owner in seen or not left:
                continue
            seen.add(owner)
            left -= 1
            best = np.argsort(-test.scores(text), kind="stable")[:ANSWERS]
            group = test.groups[owner]
            grids.append(
                {
                    "kind": kind,
                    "image": int(rows[owner]),
                    "caption": int(text - first[text]),
                    "rank": int(ranks[text]) + 1,
                    "answers": [(int(rows[i]), bool(test.groups[i] == group)) for i in best],
                }
            )
    return sorted(grids, key=lambda grid: ["best", "typical", "worst"].index(grid["kind"]))


def _start(model: Path) -> str:
    """What a trained model started from, in words."""
    return str(json.loads((model / "preprocess.json").read_text()).get("start", "the base"))


def slice_tables(comparison: Comparison, store: FeatureStore, data: Path) -> list[dict[str, Any]]:
    """Recall by the length of the caption and by the density of the edges: `title` and `table`."""
    models = {"vanilla": "vanilla", "structxlip": "StructXLIP"}
    rows = store.rows("test")
    captions, _ = store.captions_of(rows)
    words = caption_words(data / "captions", store.ids[rows], len(captions))
    density = np.array(read_shards(data / "edges", ["density"])["density"])[rows]
    ranks = {label: comparison.test[name].ranks() for name, label in models.items()}
    found = []
    for title, way, values in (
        ("T→I R@1 by the words of the caption", "text_to_image", words),
        ("I→T R@1 by the edge density of the image", "image_to_text", density),
    ):
        parts = recall_by(values, {name: getattr(of, way) for name, of in ranks.items()})
        table = [["from", "to", "queries", *ranks]]
        for part in parts:
            cells = [f"{part.low:.3g}", f"{part.high:.3g}", f"{part.queries}"]
            table.append(cells + [f"{value:.1f}" for value in part.recall.values()])
        found.append({"title": title, "table": table})
    return found


def caption_words(directory: Path, ids: NDArray[np.str_], captions: int) -> NDArray[np.int64]:
    """The number of words of each caption of some pairs, in the order of the artifact."""
    import pyarrow.dataset as ds

    texts = ds.dataset(shards(directory)).to_table(
        ["text"], filter=ds.field("id").isin(ids.tolist())
    )
    words = np.array([len(text.split()) for text in texts["text"].to_pylist()])
    assert len(words) == captions, f"{directory} does not fit the features"
    return words


def _draw_losses(axes: Any, histories: dict[str, pd.DataFrame], guesses: dict[str, float]) -> None:
    """Each loss over the epochs, and dotted in its colour the value of guessing."""
    for axis, (arm, history) in zip(axes, histories.items(), strict=True):
        for term in [column for column in history if column.endswith("_loss")]:
            (line,) = axis.plot(history["epoch"], history[term], label=term.removesuffix("_loss"))
            if term in guesses:
                axis.axhline(guesses[term], color=line.get_color(), linestyle=":", linewidth=0.9)
        axis.set(title=arm, xlabel="epoch", ylabel="loss", ylim=(0, None))
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_gain(axes: Any, metrics: dict[str, Any]) -> None:
    gains = {label: metrics[delta]["R@1"] for delta, label in gain_labels(metrics).items()}
    draw_gains(axes[0], gains, "gain over vanilla, points of R@1 [95 %]")


def _draw_recall(axes: Any, histories: dict[str, pd.DataFrame]) -> None:
    for arm, history in histories.items():
        axes[0].plot(history["epoch"], recall_curve(history), label=arm)
    axes[0].set(xlabel="epoch", ylabel="mean R@1 on validation, %\n(images alone)", ylim=(0, None))
    axes[0].legend(frameon=False)
