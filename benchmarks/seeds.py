"""Vanilla and StructXLIP over several seeds on one dataset, from its cached features.

Run it where `dvc repro` has made the features:

    python benchmarks/seeds.py --dataset scenes --seeds 0 1 2
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

from structxlip.config import Arm, Params, load_params
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.evaluation.protocol import compare
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun, train_worker, trained

MODELS = ("vanilla", "structxlip_image_only", "structxlip")
WAYS = ("image_to_text", "text_to_image")


def one_seed(params: Params, data: Path) -> dict[str, Any]:
    store = FeatureStore(data / "features")

    def train(arm: Arm) -> StructXLIP:
        with tempfile.TemporaryDirectory() as storage:
            machine = params.machine.model_copy(update={"storage": storage})
            stored = params.model_copy(update={"machine": machine})
            run = TrainingRun(stored, arm, data / "features", data / "edges")
            train_worker(run, run.checkpoints(), World(), lambda _: None)
            return trained(run)[0]

    return compare(
        build_model(params.active.model, store, seed=params.seed, losses=None).eval(),
        train("vanilla"),
        train("structxlip"),
        store,
        EdgeMaps(data / "edges", store.ids),
        alphas=params.active.evaluation.alphas,
        bootstrap_samples=params.active.evaluation.bootstrap_samples,
        seed=params.seed,
    ).metrics


def row(name: str, seeds: list[dict[str, Any]], model: str) -> str:
    cells = []
    for way in WAYS:
        found = [metrics[model][f"{way}/R@1"] for metrics in seeds]
        cells.append(f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    options = parser.parse_args()
    params = load_params(options.params)
    seeds = []
    for seed in options.seeds:
        one = params.model_copy(update={"seed": seed})
        metrics = one_seed(one, Path("data") / options.dataset)
        seeds.append(metrics)
        print(
            f"seed {seed}: α = {metrics['alpha']:g}, Δ R@1 {metrics['delta']['R@1']}",
            flush=True,
        )
    print(f"\n| model | {' | '.join(f'{way} R@1' for way in WAYS)} |\n|---|---|---|")
    for model in MODELS:
        print(row(model, seeds, model))


if __name__ == "__main__":
    main()
