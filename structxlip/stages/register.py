"""Stage `register`: log the run to MLflow and register the model, `reports/<dataset>`."""

from __future__ import annotations

import json
from dataclasses import asdict

from structxlip.config import Params
from structxlip.incremental.artifacts import DATA, MODELS, REPORTS, atomic_files
from structxlip.progress import say
from structxlip.tracking.registration import register_model
from structxlip.tracking.split import read_test_split

LOGGED = ("report.html", "metrics.json", "losses.csv", "recall.csv", "losses.svg", "recall.svg")


def register(params: Params, dataset: str) -> None:
    """Log the run of a dataset to MLflow and register its model."""
    reports = REPORTS / dataset
    done = register_model(
        dataset=dataset,
        params=params,
        models=MODELS / dataset,
        metrics=json.loads((reports / "metrics.json").read_text()),
        files=[reports / name for name in LOGGED],
        test=read_test_split(DATA / dataset / "pairs"),
    )
    with atomic_files(reports, "register") as directory:
        (directory / "registration.json").write_text(json.dumps(asdict(done), indent=2) + "\n")
    promoted = "it is the champion now" if done.alias else "the champion stays"
    version = f"{done.model} version {done.version} is {done.arm}"
    say(f"register {dataset}: {version}, {promoted} ({done.reason})")
