"""`structxlip inspect`: a page that shows a dataset before anything is trained on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.data.repeats import find_repeats
from structxlip.data.shards import shards
from structxlip.errors import UserError
from structxlip.evaluation.retrieval import strict_ceilings
from structxlip.features.groups import caption_ids
from structxlip.incremental.artifacts import DATA, REPORTS, atomic_files
from structxlip.progress import say
from structxlip.reports.pictures import Pictures, figure, read_quarantine, render

EXAMPLES, SAMPLED = 12, 5000
SHOWN_WORDS = 400  # of an example; to compare long texts takes the square of their length


@dataclass(frozen=True)
class TextLengths:
    """The token counter of a text tower, and the most tokens that it reads."""

    count: Callable[[Sequence[str]], list[int]]
    limit: int


def inspect(params: Params, dataset: str) -> None:
    """Write ``reports/<dataset>/inspection.html`` from the artifacts of a dataset.

    Raises ``UserError`` when an artifact is not complete.
    """
    from structxlip.models.towers import load_encoders

    data = DATA / dataset
    for stage in ("pairs", "edges", "captions"):
        if not (data / stage / "quarantine.parquet").is_file():
            wanted = f"edges@{dataset} captions@{dataset}"
            raise UserError(f"{data / stage} is not complete; run `dvc repro {wanted}` first")
    _, texts = load_encoders(**params.recipe_settings.model.encoder_settings())
    with atomic_files(REPORTS / dataset, "inspect") as directory:
        write_dataset_page(
            directory / "inspection.html",
            dataset=dataset,
            params=params,
            data=data,
            lengths=TextLengths(texts.count, texts.limit),
        )
    say(f"inspect {dataset}: look at {REPORTS / dataset / 'inspection.html'}")


def write_dataset_page(
    path: Path,
    *,
    dataset: str,
    params: Params,
    data: Path,
    lengths: TextLengths,
) -> None:
    """Write the page of the artifacts under ``data``."""
    report = json.loads((data / "pairs" / "report.json").read_text())
    densities, usable, region_sides = _edges(data / "edges")
    texts, chunks = _captions(data / "captions")
    owners, groups = _owners(data)
    owner = np.unique(owners, return_inverse=True)[1]
    structure = json.loads((data / "captions" / "report.json").read_text())
    tokens = np.array(lengths.count(_evenly(texts, SAMPLED)))
    rows = np.unique(np.linspace(0, report["pairs"] - 1, EXAMPLES).astype(int))
    pictures = Pictures(data, rows)
    limits = params.recipe_settings.edges.min_density, params.recipe_settings.edges.max_density
    page = render(
        "dataset_page.html.j2",
        dataset=dataset,
        params=params,
        report=report,
        structure=structure,
        repeats=find_repeats(texts, owners, groups),
        ceiling=strict_ceilings(owner, caption_ids(texts))["text_to_image/R@1"],
        limit=lengths.limit,
        longest=int(tokens.max()),
        median=int(np.median(tokens)),
        cut=100 * float((tokens > lengths.limit).mean()),
        usable=usable,
        regions=len(region_sides) / len(densities),
        region_px=int(np.median(region_sides)) if len(region_sides) else 0,
        lengths=figure(lambda axes: _draw_lengths(axes[0], tokens, lengths.limit), 1),
        densities=figure(lambda axes: _draw_densities(axes[0], densities, limits), 1),
        examples=[_example(pictures, row, chunks) for row in rows.tolist()],
        quarantine=read_quarantine(data),
    )
    path.write_text(page, encoding="utf-8")


def marked(text: str, structure: str) -> list[tuple[str, bool]]:
    """The first words of a caption, each with whether its structural form keeps it."""
    words, kept = text.split()[:SHOWN_WORDS], structure.split()[:SHOWN_WORDS]
    plain = [[word.strip(",.;:()").lower() for word in found] for found in (words, kept)]
    blocks = SequenceMatcher(None, plain[0], plain[1], autojunk=False).get_matching_blocks()
    inside = {block.a + i for block in blocks for i in range(block.size)}
    return [(word, i in inside) for i, word in enumerate(words)]


def _example(pictures: Pictures, row: int, chunks: dict[str, list[str]]) -> dict[str, Any]:
    found = pictures.example(row)
    found["words"] = marked(found["caption"], found["structure"])
    found["chunks"] = chunks[found["id"]]
    return found


def _edges(edges: Path) -> tuple[NDArray[np.float32], int, NDArray[np.int32]]:
    """Densities, the number of maps that enter the losses, and the longer side of each region."""
    import pyarrow.dataset as ds

    table = ds.dataset(shards(edges)).to_table(["density", "has_structure", "regions"])
    boxes = table["regions"].combine_chunks().flatten()
    sides = np.maximum(boxes.field("w").to_numpy(), boxes.field("h").to_numpy())
    return table["density"].to_numpy(), sum(table["has_structure"].to_pylist()), sides


def _captions(captions: Path) -> tuple[list[str], dict[str, list[str]]]:
    """All captions, and the chunks of the first caption of each pair."""
    import pyarrow.dataset as ds

    table = ds.dataset(shards(captions)).to_table(["id", "caption_index", "structure", "chunks"])
    first = table.filter(ds.field("caption_index") == 0).to_pylist()
    chunks = {
        row["id"]: [row["structure"][c["start"] : c["end"]] for c in row["chunks"]] for row in first
    }
    texts = ds.dataset(shards(captions)).to_table(["text"])["text"].to_pylist()
    return texts, chunks


def _owners(data: Path) -> tuple[list[str], list[str]]:
    """The pair and the group of each caption, in the order of the artifact of captions."""
    import pyarrow.dataset as ds

    pairs = ds.dataset(shards(data / "pairs")).to_table(["id", "group"])
    groups = dict(zip(pairs["id"].to_pylist(), pairs["group"].to_pylist(), strict=True))
    owners = ds.dataset(shards(data / "captions")).to_table(["id"])["id"].to_pylist()
    return owners, [groups[owner] for owner in owners]


def _evenly(values: list[str], most: int) -> list[str]:
    return values[:: max(1, len(values) // most)]


def _draw_lengths(axis: Any, tokens: NDArray[np.int64], limit: int) -> None:
    most = int(
        np.percentile(tokens, 99.5)
    )  # a few very long ones would squeeze the rest into one bar
    shown = np.minimum(tokens, most)
    axis.hist(shown, bins=min(40, int(shown.max() - shown.min()) + 1), color="#4c78a8")
    if most > limit / 3:
        axis.axvline(limit, color="#c81e1e")
    longer = " (the last bar: and more)" if tokens.max() > most else ""
    axis.set(xlabel=f"tokens of a caption{longer}", ylabel="captions")


def _draw_densities(axis: Any, densities: NDArray[np.float32], limits: tuple[float, float]) -> None:
    axis.hist(densities, bins=40, color="#4c78a8")
    for limit in limits:
        if limit <= densities.max() * 1.5:
            axis.axvline(limit, color="#c81e1e")
    axis.set(xlabel="share of edge pixels", ylabel="images")
