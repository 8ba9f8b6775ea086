"""The comparison in words: one table for the screen, the report and Prefect."""

from __future__ import annotations

from typing import Any


def table(metrics: dict[str, Any]) -> list[list[str]]:
    """The comparison of metrics.json as rows of text, a header first."""
    ways = [f"{way}/R@{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)]
    heads = [f"{arrow} R@{k}" for arrow in ("I→T", "T→I") for k in (1, 5, 10)]
    rows = [["model", *heads, "Δ R@1 vs vanilla [95 %]"]]
    labels = {
        "base": "base (before fine-tuning)",
        "vanilla": "vanilla fine-tuning",
        "structxlip_image_only": "StructXLIP, image only",
        "structxlip": f"StructXLIP, edges at α = {metrics['alpha']:g}",
    }
    deltas = {"structxlip": "delta", "structxlip_image_only": "delta_image_only"}
    for name, label in labels.items():
        gain = ""
        if name in deltas:
            found = metrics[deltas[name]]["R@1"]
            gain = f"{found['mean']:+.1f} [{found['low']:+.1f}, {found['high']:+.1f}]"
        rows.append([label, *(f"{metrics[name][way]:.1f}" for way in ways), gain])
    return rows
