"""The page of the experiments of a dataset, made of the files that they wrote."""

from __future__ import annotations

import json
from pathlib import Path

from structxlip.reports.pictures import render

PAGE = "evidence.html"
# The experiments in the order of the page, each with its heading.
TITLES = {
    "compare": "Is the gain structure's?",
    "robustness": "When the appearance changes",
    "ablate": "What each part gives",
    "data-efficiency": "With less training data",
    "flatness": "How flat the minimum is",
    "tune": "What a search on validation finds",
}


def write_evidence(folder: Path) -> None:
    """Write ``evidence.html`` to the report folder of a dataset.

    Each experiment whose JSON and SVG lie there becomes a section.
    """
    sections = [
        {
            "title": title,
            "figure": (folder / f"{name}.svg").read_text(encoding="utf-8"),
            **json.loads((folder / f"{name}.json").read_text(encoding="utf-8")),
        }
        for name, title in TITLES.items()
        if (folder / f"{name}.json").exists() and (folder / f"{name}.svg").exists()
    ]
    page = render("evidence.html.j2", dataset=folder.name, sections=sections)
    temporary = folder / f".{PAGE}.tmp"
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(folder / PAGE)
