"""The report of a dataset: one self-contained HTML page of tables, curves and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.evaluation.protocol import Comparison, Embeddings
from structxlip.features.store import FeatureStore
from structxlip.reports.comparison import comparison_table, ranking_table
from structxlip.reports.pictures import Pictures, figure, read_quarantine, render
from structxlip.reports.training_curves import observations, recall_curve
from structxlip.reports.training_settings import training_settings

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES, QUERIES, ANSWERS = 6, 6, 5


def write_report(
    path: Path,
    *,
    dataset: str,
    params: Params,
    comparison: Comparison,
    histories: dict[str, pd.DataFrame],
    store: FeatureStore,
    data: Path,
) -> None:
    """Write the report to ``path``, and its figures beside it: ``losses.svg``, ``recall.svg``.

    ``data`` is the folder of the dataset's artifacts.
    """
    rows = store.rows("test")
    examples = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
    grids = _retrieval(comparison.test["structxlip"], rows)
    wanted = sorted({*examples.tolist(), *(row for grid in grids for row, _ in grid["answers"])})
    pictures = Pictures(data, np.array(wanted))
    pairs = {split: len(store.rows(split)) for split in ("train", "val")}
    figures = {
        "losses": figure(lambda axes: _draw_losses(axes, histories), 2),
        "recall": figure(lambda axes: _draw_recall(axes, histories), 1),
    }
    page = render(
        "report.html.j2",
        dataset=dataset,
        params=params,
        metrics=comparison.metrics,
        recall_table=comparison_table(comparison.metrics),
        ranking_table=ranking_table(comparison.metrics),
        strict_table=comparison_table(comparison.metrics, "strict/"),
        ingest=json.loads((data / "pairs" / "report.json").read_text()),
        quarantine=read_quarantine(data),
        **figures,
        observations=observations(params, pairs, histories),
        settings=training_settings(params, pairs["train"], histories),
        examples=[pictures.example(row) for row in examples.tolist()],
        queries=[
            {
                "text": pictures.captions(grid["image"])[grid["caption"]],
                "rank": grid["rank"] + 1,
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


def _retrieval(test: Embeddings, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Evenly spaced captions of the test split, each with the images that it ranks first."""
    chosen = np.linspace(0, len(test.texts) - 1, QUERIES).astype(int)
    ranks = test.ranks().text_to_image
    first = np.searchsorted(test.text_to_image, test.text_to_image)
    groups = test.groups
    grids = []
    for text in dict.fromkeys(chosen.tolist()):
        owner = test.text_to_image[text]
        best = np.argsort(-(test.texts[text] @ test.images.T), kind="stable")[:ANSWERS]
        answers = [(int(rows[i]), bool(groups[i] == groups[owner])) for i in best]
        if owner not in best:  # its captions are shown
            answers.append((int(rows[owner]), True))
        grids.append(
            {
                "image": int(rows[owner]),
                "caption": int(text - first[text]),
                "rank": int(ranks[text]),
                "answers": answers,
            }
        )
    return grids


def _draw_losses(axes: Any, histories: dict[str, pd.DataFrame]) -> None:
    for axis, (arm, history) in zip(axes, histories.items(), strict=True):
        for term in [column for column in history if column.endswith("_loss")]:
            axis.plot(history["epoch"], history[term], label=term.removesuffix("_loss"))
        axis.set(title=arm, xlabel="epoch", ylabel="loss", ylim=(0, None))
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_recall(axes: Any, histories: dict[str, pd.DataFrame]) -> None:
    for arm, history in histories.items():
        axes[0].plot(history["epoch"], recall_curve(history), label=arm)
    axes[0].set(xlabel="epoch", ylabel="mean R@1 on validation, %\n(images alone)", ylim=(0, None))
    axes[0].legend(frameon=False)
