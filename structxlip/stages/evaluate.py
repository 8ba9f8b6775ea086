"""Stage `evaluate`: base, vanilla and structxlip side by side, `reports/<dataset>`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, MODELS, REPORTS, atomic_files

if TYPE_CHECKING:
    import pandas as pd


def evaluate(params: Params, dataset: str) -> None:
    import pandas as pd
    import torch

    from structxlip.data.feature_store import EdgeMaps, FeatureStore
    from structxlip.evaluation.protocol import compare
    from structxlip.evaluation.report import write_report
    from structxlip.models.build import build_model, load_model

    data, models = DATA / dataset, MODELS / dataset
    store = FeatureStore(data / "features")
    edges = EdgeMaps(data / "edges", store.ids)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    comparison = compare(
        build_model(params.active.model, store, seed=params.seed, losses=None).eval().to(device),
        load_model(models / "vanilla").to(device),
        load_model(models / "structxlip").to(device),
        store,
        edges,
        alphas=params.active.evaluation.alphas,
        bootstrap_samples=params.active.evaluation.bootstrap_samples,
        seed=params.seed,
    )
    histories = {
        arm: pd.read_parquet(models / arm / "history.parquet") for arm in ("vanilla", "structxlip")
    }
    with atomic_files(REPORTS / dataset, "evaluate") as directory:
        (directory / "metrics.json").write_text(json.dumps(comparison.metrics, indent=2) + "\n")
        _loss_curves(histories).to_csv(directory / "losses.csv", index=False)
        _recall_curves(comparison.metrics).to_csv(directory / "recall.csv", index=False)
        write_report(
            directory / "report.html",
            dataset=dataset,
            params=params,
            comparison=comparison,
            histories=histories,
            store=store,
            data=data,
        )
    gain = comparison.metrics["delta"]["R@1"]["mean"]
    say(f"evaluate {dataset}: StructXLIP {gain:+.1f} points of R@1 over vanilla")


def _loss_curves(histories: dict[str, pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    frames = [
        history.drop(columns="loss")
        .melt("epoch", [c for c in history if c.endswith("_loss")], "term", "loss")
        .assign(arm=arm)
        for arm, history in histories.items()
    ]
    return pd.concat(frames)[["arm", "term", "epoch", "loss"]]


def _recall_curves(metrics: dict[str, dict[str, float]]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {"model": name, "way": way.split("/")[0], "k": int(way.split("@")[1]), "recall": value}
        for name in ("base", "vanilla", "structxlip_image_only", "structxlip")
        for way, value in metrics[name].items()
    ]
    return pd.DataFrame(rows)


def print_report(dataset: str) -> None:
    """Print the comparison of a dataset and where to look further."""
    from rich.console import Console
    from rich.table import Table

    from structxlip.evaluation.comparison import table

    folder = REPORTS / dataset
    try:
        metrics = json.loads((folder / "metrics.json").read_text())
    except OSError:
        raise UserError(
            f"{folder} holds no metrics; run `dvc repro register@{dataset}` first"
        ) from None
    header, *rows = table(metrics)
    shown = Table(title=f"{dataset}: recall in percent on {metrics['test_pairs']} test images")
    for index, name in enumerate(header):
        shown.add_column(name, justify="right" if index else "left")
    for row in rows:
        shown.add_row(*row)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(shown)
    console.print(f"report   {folder / 'report.html'}")
    registration = folder / "registration.json"
    if registration.exists():
        found = json.loads(registration.read_text())
        aliases = f", alias {found['alias']}" if found["alias"] else ""
        console.print(f"model    {found['model']} version {found['version']}{aliases}")
        console.print("MLflow   mlflow ui --backend-store-uri sqlite:///mlflow.db")
