"""Stage `evaluate`: vanilla and structxlip side by side, `reports/<dataset>`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.incremental.artifacts import DATA, MODELS, REPORTS, atomic_files
from structxlip.progress import say

if TYPE_CHECKING:
    from structxlip.features.store import FeatureStore

TIMED = 17  # test images whose embedding is timed


def evaluate(params: Params, dataset: str) -> None:
    """Compare the models of a dataset on its test split, and write metrics and report."""
    import pandas as pd
    import torch

    from structxlip.evaluation.cost import embedding_cost
    from structxlip.evaluation.headline import headline
    from structxlip.evaluation.pointing import attention_weights, named_chunks, pointing_game
    from structxlip.evaluation.protocol import Scorers, compare
    from structxlip.features.store import FeatureStore
    from structxlip.features.views import open_view
    from structxlip.models.build import build_model, load_model
    from structxlip.models.towers import is_zero_shot
    from structxlip.reports.attention import Attention
    from structxlip.reports.comparison import gain_sentence
    from structxlip.reports.report import slice_tables, write_report

    data, models, recipe = DATA / dataset, MODELS / dataset, params.recipe_settings
    store = FeatureStore(data / "features")
    by_tower = recipe.reads_with_tower
    edges = open_view(
        "edges",
        store,
        edges=data / "edges",
        edge_features=data / "edge_features" if by_tower else None,
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    structxlip = load_model(models / "structxlip").to(device)
    base = None
    if is_zero_shot(recipe.model.image_tower, recipe.model.text_tower):
        base = build_model(recipe.model, store, seed=params.seed, edge_branch=None).eval()
    comparison = compare(
        base and base.to(device),
        load_model(models / "vanilla").to(device),
        structxlip,
        store,
        edges,
        scorers=Scorers.of(recipe),
        bootstrap_samples=recipe.evaluation.bootstrap_samples,
        seed=params.seed,
    )
    chunks = named_chunks(data, store, "test") if structxlip.has_edges else []
    temperature = recipe.arms.structxlip.region_chunk.attention_temperature
    weights = attention_weights(structxlip, store, edges, chunks, temperature)
    attention = None
    if weights is not None:
        comparison.metrics["pointing_game"] = pointing_game(weights, chunks)
        attention = Attention(chunks, weights)
    comparison.metrics["slices"] = slice_tables(comparison, store, data)
    try:
        cost = embedding_cost(structxlip, recipe.edges, _test_images(data, store))
    except UserError as error:  # the towers are elsewhere; the numbers do not need them
        say(f"evaluate {dataset}: the time of an image is not measured ({error})")
        cost = {}
    histories = {
        arm: pd.read_parquet(models / arm / "history.parquet") for arm in ("vanilla", "structxlip")
    }
    with atomic_files(REPORTS / dataset, "evaluate") as directory:
        for name, numbers in (
            ("metrics.json", headline(comparison.metrics)),
            ("comparison.json", comparison.metrics),
        ):
            (directory / name).write_text(json.dumps(numbers, indent=2) + "\n")
        write_report(
            directory / "report.html",
            dataset=dataset,
            params=params,
            comparison=comparison,
            histories=histories,
            store=store,
            data=data,
            attention=attention,
            cost=cost,
        )
    say(f"evaluate {dataset}: {gain_sentence(comparison.metrics)}")


def _test_images(data: Path, store: FeatureStore) -> list[bytes]:
    """Some encoded images of the test split."""
    from structxlip.reports.pictures import take

    rows = store.rows("test")[:TIMED]
    return [pair["image"] for pair in take(data / "pairs", rows, ["image"]).values()]
