"""Stage `register`: log the run to MLflow and register the model, `reports/<dataset>`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np

from structxlip.config import Params
from structxlip.data.pairs import shards
from structxlip.progress import say
from structxlip.registry import TestSplit, register_model
from structxlip.stages.artifacts import DATA, MODELS, REPORTS, atomic_files

LOGGED = ("report.html", "metrics.json", "losses.csv", "recall.csv", "losses.svg", "recall.svg")


def register(params: Params, dataset: str) -> None:
    reports = REPORTS / dataset
    done = register_model(
        dataset=dataset,
        params=params,
        model=MODELS / dataset / params.register_.arm,
        metrics=json.loads((reports / "metrics.json").read_text()),
        files=[reports / name for name in LOGGED],
        test=_test_split(dataset),
    )
    with atomic_files(reports, "register") as directory:
        (directory / "registration.json").write_text(json.dumps(asdict(done), indent=2) + "\n")
    promoted = "champion now" if done.alias else "the champion stays"
    say(f"register {dataset}: {done.model} version {done.version}, {promoted} ({done.reason})")


def _test_split(dataset: str) -> TestSplit:
    import pyarrow.dataset as ds

    columns = ["id", "image", "captions", "sha256"]
    pairs = ds.dataset(shards(DATA / dataset / "pairs"))
    rows = pairs.to_table(columns, filter=ds.field("split") == "test").to_pylist()
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(json.dumps([row["id"], row["sha256"], row["captions"]]).encode())
    return TestSplit(
        images=[row["image"] for row in rows],
        texts=[text for row in rows for text in row["captions"]],
        owner=np.repeat(np.arange(len(rows)), [len(row["captions"]) for row in rows]),
        digest=digest.hexdigest(),
    )
