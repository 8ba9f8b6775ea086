"""The comparison of the models as a table: for the screen, the report and Prefect."""

from __future__ import annotations

import json
import sys
from typing import Any

from structxlip.errors import UserError
from structxlip.evaluation.chosen import best_on_validation
from structxlip.incremental.artifacts import REPORTS


def comparison_table(metrics: dict[str, Any], prefix: str = "") -> list[list[str]]:
    """The content of ``comparison.json`` as rows of text; the first row is the header.

    With the prefix ``strict/`` the recalls count only an image's own captions as right.
    """
    ways = [
        f"{prefix}{way}/R@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)
    ]
    heads = [f"{arrow} R@{k}" for arrow in ("I→T", "T→I") for k in (1, 5, 10)]
    rows = [["model", *heads, "Δ R@1 vs vanilla [95 %]"]]
    gains = {label: delta for delta, label in gain_labels(metrics).items()}
    for name, label in model_labels(metrics).items():
        gain = gain_text(metrics[gains[label]][f"{prefix}R@1"]) if label in gains else ""
        rows.append([label, *(f"{metrics[name][way]:.1f}" for way in ways), gain])
    return rows


def ranking_table(metrics: dict[str, Any]) -> list[list[str]]:
    """The measures of the whole ranking in ``comparison.json`` as rows of text, a header first."""
    names = ("median_rank", "MRR", "mAP@10", "nDCG@10")
    ways = {"I→T": "image_to_text", "T→I": "text_to_image"}
    rows = [["model", *(f"{arrow} {name.replace('_', ' ')}" for arrow in ways for name in names)]]
    for name, label in model_labels(metrics).items():
        cells = [metrics[name][f"{way}/{measure}"] for way in ways.values() for measure in names]
        rows.append([label, *(f"{cell:.1f}" for cell in cells)])
    return rows


def model_labels(metrics: dict[str, Any]) -> dict[str, str]:
    """The models of ``comparison.json`` in the order of tables, with their names for readers."""
    fused = f"StructXLIP, edges at α = {metrics['alpha']:g}"
    labels = {"base": "off-the-shelf (zero-shot)"} if "base" in metrics else {}
    labels |= {
        "vanilla": "vanilla fine-tuning",
        "structxlip_image_only": "StructXLIP, image only",
    }
    if beta := metrics.get("beta"):
        return labels | {
            "structxlip_fused": fused,
            "structxlip": f"StructXLIP reranked, β = {beta:g}",
        }
    return labels | {"structxlip": fused}


def gain_labels(metrics: dict[str, Any]) -> dict[str, str]:
    """The gains over vanilla in ``comparison.json``, with the names of their models."""
    return {
        name.replace("structxlip", "delta"): label
        for name, label in model_labels(metrics).items()
        if name.startswith("structxlip")
    }


def validation_text(metrics: dict[str, Any]) -> str:
    """A sentence for readers: the arm with the better R@1 on validation, and both numbers.

    ``metrics`` is the content of ``comparison.json``.
    """
    found = metrics["validation"]
    numbers = f"R@1 {found['structxlip_fused']:.1f} % against {found['vanilla']:.1f} % of vanilla"
    if found["structxlip"] != found["structxlip_fused"]:
        numbers += f", and {found['structxlip']:.1f} % reranked"
    if best_on_validation(metrics) == "structxlip":
        return f"On validation StructXLIP is better: {numbers}."
    return f"On validation StructXLIP is not better: {numbers}. Vanilla is the one to take."


def gain_sentence(metrics: dict[str, Any]) -> str:
    """Whether StructXLIP is better than vanilla on the test split, with the gain and its
    interval."""
    gain = metrics["delta"]["R@1"]
    shown = gain_text(gain, "points of R@1")
    if gain["low"] > 0:
        return f"StructXLIP is better than vanilla: {shown}"
    if gain["high"] < 0:
        return f"StructXLIP is worse than vanilla: {shown}"
    return f"no difference to vanilla is shown: {shown}"


def ceiling_sentence(metrics: dict[str, Any]) -> str:
    """What captions that are equal put as a ceiling on strict R@1, for readers."""
    most = metrics["strict_ceiling"]
    return (
        f"Equal captions cannot be told apart, so strict R@1 is at most "
        f"{most['image_to_text/R@1']:.1f} % (I→T) and {most['text_to_image/R@1']:.1f} % (T→I)."
    )


def best_row(metrics: dict[str, Any]) -> int:
    """The number, counted from 0, of the model in ``model_labels`` that is better on validation."""
    return list(model_labels(metrics)).index(best_on_validation(metrics))


def gain_text(gain: dict[str, float], unit: str = "") -> str:
    """A gain in points with its 95 % interval, such as `+1.1 [−0.2, +2.4]`."""
    parts = [f"{gain['mean']:+.1f}", unit, f"[{gain['low']:+.1f}, {gain['high']:+.1f}]"]
    return " ".join(filter(None, parts))


def print_comparison(dataset: str) -> None:
    """Print the comparison of a dataset's models, and where its report is.

    Raises ``UserError`` when the dataset is not evaluated.
    """
    from rich.console import Console
    from rich.table import Table

    folder = REPORTS / dataset
    try:
        metrics = json.loads((folder / "comparison.json").read_text())
    except OSError:
        raise UserError(
            f"{folder} holds no metrics; run `dvc repro package@{dataset}` first"
        ) from None
    console = Console(width=None if sys.stdout.isatty() else 120)
    titles = {"": f"{dataset}: recall in percent on {metrics['test_pairs']} test images"}
    if sharing := metrics.get("test_pairs_sharing_a_caption"):
        titles["strict/"] = (
            f"strict recall: own captions alone, where {sharing} images share one with another"
        )
    for prefix, title in titles.items():
        header, *rows = comparison_table(metrics, prefix)
        shown = Table(title=title)
        for index, name in enumerate(header):
            shown.add_column(name, justify="right" if index else "left")
        best = best_row(metrics) if "validation" in metrics else None
        for number, row in enumerate(rows):
            shown.add_row(*row, style="bold" if number == best else None)
        console.print(shown)
    if sharing and "strict_ceiling" in metrics:
        console.print(ceiling_sentence(metrics), highlight=False)
    console.print(f"{gain_sentence(metrics)}.", highlight=False)
    if "validation" in metrics:
        console.print(validation_text(metrics), highlight=False)
    console.print(f"report   {folder / 'report.html'}")
