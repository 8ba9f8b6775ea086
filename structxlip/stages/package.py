"""Stage `package`: the trained arms as packages that MLflow serves, `models/<dataset>/package`."""

from __future__ import annotations

import json

from structxlip.config import Params
from structxlip.evaluation.chosen import chosen_arm
from structxlip.incremental.artifacts import MODELS, REPORTS, atomic_directory
from structxlip.progress import say
from structxlip.serving.package import write_package


def package(params: Params, dataset: str) -> None:
    """Package the arm that is to be registered, and vanilla, to which the gate may go back."""
    models = MODELS / dataset
    metrics = json.loads((REPORTS / dataset / "comparison.json").read_text())
    arm = chosen_arm(metrics, params.register_.arm)
    with atomic_directory(models / "package") as folder:
        for name in dict.fromkeys((arm, "vanilla")):
            alpha = metrics["alpha"] if name == "structxlip" else 0.0
            write_package(models / name, alpha, folder / name)
        (folder / "candidate.json").write_text(json.dumps({"arm": arm}) + "\n")
    say(f"package {dataset}: {arm} is packaged")
