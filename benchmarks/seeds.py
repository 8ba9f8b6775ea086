"""Recall of vanilla and StructXLIP over several seeds on one dataset.

Run it where `dvc repro` has made the features:

    python benchmarks/seeds.py --dataset scenes --seeds 0 1 2

Each seed gives other weights and batches; the data and its splits stay as they are. For each seed
the script trains both arms, compares them on the test split by the protocol of the stage
`evaluate`, and prints the weight α of the edge branch that validation chose, and the gain in mean
R@1 over vanilla with its 95 % bootstrap interval.

Columns:
    model              vanilla; StructXLIP by its image branch alone; StructXLIP with edges fused
    image_to_text R@1  recall at 1 on the test split in percent: mean ± standard deviation of seeds
    text_to_image R@1  the same for texts as queries
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from random_data import project_folder
from script import new_parser, parse, print_header, print_row
from structxlip.config import Arm, Params, load_params
from structxlip.evaluation.protocol import compare
from structxlip.evaluation.retrieval import WAYS
from structxlip.features.edge_maps import EdgeMaps
from structxlip.features.store import FeatureStore
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.training.export import load_trained
from structxlip.training.parallel import World
from structxlip.training.run import TrainingRun
from structxlip.training.worker import train_worker

MODELS = ("vanilla", "structxlip_image_only", "structxlip")
SMOKE = {"seeds": [0, 1]}


def compare_arms(params: Params, data: Path) -> dict[str, Any]:
    """Train both arms, and compare them on the test split; returns ``metrics.json``."""
    store, recipe = FeatureStore(data / "features"), params.recipe_settings
    return compare(
        build_model(recipe.model, store, seed=params.seed, variant=None).eval(),
        train(params, data, "vanilla"),
        train(params, data, "structxlip"),
        store,
        EdgeMaps(data / "edges", store.ids),
        alphas=recipe.evaluation.alphas,
        bootstrap_samples=recipe.evaluation.bootstrap_samples,
        seed=params.seed,
    ).metrics


def train(params: Params, data: Path, arm: Arm) -> StructXLIP:
    """Train an arm in this process, with its checkpoints in a temporary folder."""
    with tempfile.TemporaryDirectory() as storage:
        machine = params.machine.model_copy(update={"storage": storage})
        stored = params.model_copy(update={"machine": machine})
        run = TrainingRun(stored, arm, data / "features", data / "edges")
        train_worker(run, run.checkpoints(), World(), lambda _: None)
        return load_trained(run)[0]


def recalls(seeds: list[dict[str, Any]], model: str) -> list[str]:
    """The mean and the standard deviation of R@1 over seeds, both ways."""
    cells = []
    for way in WAYS:
        values = [metrics[model][f"{way}/R@1"] for metrics in seeds]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        cells.append(f"{statistics.mean(values):.1f} ± {spread:.1f}")
    return cells


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    options = parse(parser, SMOKE)
    found = []
    with project_folder(options.smoke) as folder:
        params = load_params(folder / options.params)
        for seed in options.seeds:
            seeded = params.model_copy(update={"seed": seed})
            metrics = compare_arms(seeded, folder / "data" / options.dataset)
            found.append(metrics)
            gain = "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format(**metrics["delta"]["R@1"])
            print(f"seed {seed}: α = {metrics['alpha']:g}, gain in R@1 {gain}", flush=True)
    print()
    print_header("model", *(f"{way} R@1" for way in WAYS))
    for model in MODELS:
        print_row(model, *recalls(found, model))


if __name__ == "__main__":
    main()
