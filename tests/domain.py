"""A tiny domain under Prefect: real pairs, edge maps, data check and gate; its model is a script.

Its model reads a picture of 16 grey cells and a caption that spells them. Its noise falls with the
number of training pairs, so that more data is better.
"""

from __future__ import annotations

import json
import random
import sys

import cv2
import numpy as np
from ruamel.yaml import YAML

from tests.operation import Project

CELLS, SIDE_PX = 16, 64
DATASET = {"kind": "imagefolder", "path": "few"}
DVC = f"""
stages:
  pairs:
    foreach: [few]
    do:
      cmd: {sys.executable} stages.py pairs
      deps: [few]
      outs: ["data/${{item}}/pairs", "data/${{item}}/edges"]
  check:
    foreach: [few]
    do:
      cmd: {sys.executable} stages.py check
      deps: ["data/${{item}}/pairs", "data/${{item}}/edges"]
      outs: ["models/${{item}}/champion", "models/${{item}}/start", "data/${{item}}/checked",
        "reports/${{item}}/data_check.json"]
  model:
    foreach: [few]
    do:
      cmd: {sys.executable} stages.py model
      deps: ["data/${{item}}/checked", "data/${{item}}/pairs"]
      outs: ["models/${{item}}/package", "reports/${{item}}/comparison.json",
        "reports/${{item}}/gain.svg"]
"""
MODEL = '''
"""Pictures and captions of 16 grey cells as vectors, with noise."""
import hashlib
import json

import cv2
import mlflow
import numpy as np
import pandas as pd


def embed(image, text, noise):
    if image is not None:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_GRAYSCALE)
        cells = cv2.resize(pixels, (4, 4), interpolation=cv2.INTER_AREA).ravel() / 16
        seed = int.from_bytes(hashlib.blake2b(image, digest_size=4).digest(), "big")
        cells = cells + noise * np.random.default_rng(seed).normal(size=16)
    else:
        cells = np.array([int(word, 16) for word in text.split()[-16:]], float)
    return (cells - cells.mean()) / np.linalg.norm(cells - cells.mean())


class Cells(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.noise = json.load(open(context.artifacts["settings"]))["noise"]

    def predict(self, context, model_input, params=None):
        rows = model_input.to_dict("records")
        found = [embed(row.get("image"), row.get("text"), self.noise).tolist() for row in rows]
        return pd.DataFrame({"embedding": found})


mlflow.models.set_model(Cells())
'''
STAGES = '''
"""The stages of the domain: those of structxlip in one process, and a model."""
import json
import sys
from pathlib import Path

import numpy as np

from structxlip.config import load_params
from structxlip.errors import UserError
from structxlip.stages.check import check
from structxlip.stages.champion import champion
from structxlip.stages.edges import edges
from structxlip.stages.ingest import ingest

params = load_params().for_dataset("few")
if sys.argv[1] == "pairs":
    ingest(params, "few")
    edges(params, "few")
elif sys.argv[1] == "check":
    champion(params, "few")
    try:
        check(params, "few")
    except UserError as error:
        sys.exit(f"structxlip: {error}")
else:
    import mlflow

    from model import embed
    from structxlip.data.shards import read_shards
    from structxlip.evaluation.statistics import mean_recall
    from structxlip.tracking.scoring import Scored
    from structxlip.tracking.split import read_test_split

    splits = read_shards(Path("data/few/pairs"), ["split"]).to_pydict()["split"]
    noise = 1200 / splits.count("train")
    package, reports = Path("models/few/package"), Path("reports/few")
    package.mkdir(parents=True)
    reports.mkdir(parents=True, exist_ok=True)
    Path("settings.json").write_text(json.dumps({"noise": noise}))
    mlflow.pyfunc.save_model(
        path=str(package / "vanilla"), python_model="model.py", pip_requirements=[],
        artifacts={"settings": "settings.json"},
    )
    trained = Path("models/few/vanilla")
    trained.mkdir(exist_ok=True)
    (trained / "preprocess.json").write_text("{}")
    towers = {"image_tower": "cells", "text_tower": "cells", "image_px": 16, "trained": "all"}
    (trained / "config.json").write_text(json.dumps(towers))
    (package / "candidate.json").write_text(json.dumps({"arm": "vanilla"}))
    test = read_test_split(Path("data/few/pairs"))
    images = np.array([embed(image, None, noise) for image in test.images], np.float32)
    texts = np.array([embed(None, text, noise) for text in test.texts], np.float32)
    everything = np.ones(len(test.images), bool)
    recall = Scored(images, texts, 0.0).ranks(test, everything).recall((1, 5, 10))
    delta = {"R@1": {"mean": 0.0, "low": 0.0, "high": 0.0}}
    models = dict.fromkeys(("vanilla", "structxlip_image_only", "structxlip"), recall)
    chosen = {"validation": {"vanilla": 1.0, "structxlip_fused": 0.0, "structxlip": 0.0}}
    counts = {"test_pairs": len(images), "test_captions": len(texts)}
    metrics = {"alpha": 0.0, "delta": delta, "delta_image_only": delta} | counts
    (reports / "comparison.json").write_text(json.dumps(metrics | models | chosen))
    for page in ("report.html", "gain.svg", "losses.svg", "recall.svg"):
        (reports / page).write_text("<svg/>")
'''


def set_up(project: Project) -> None:
    """Make the domain the only dataset of a project."""
    (project.folder / "dvc.yaml").write_text(DVC)
    (project.folder / "stages.py").write_text(STAGES)
    (project.folder / "model.py").write_text(MODEL)
    yaml, file = YAML(), project.folder / "params.yaml"
    content = yaml.load(file.read_text())
    content["datasets"] = {"few": DATASET}
    content["ingest"] |= {"val_fraction": 0.2, "test_fraction": 0.3}
    with file.open("w") as out:
        yaml.dump(content, out)
    add_pairs(project, 0, 360)


def add_pairs(project: Project, first: int, last: int, shuffled: float = 0.0) -> None:
    """Add pictures with their captions; those of a share of them go round."""
    folder = project.folder / "few"
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(first)
    cells = rng.integers(0, 16, (last - first, 4, 4))
    captions = [f"grey cells {' '.join(f'{v:x}' for v in cell.ravel())}" for cell in cells]
    order = list(range(len(captions)))
    chosen = random.Random(first).sample(order, round(shuffled * len(order)))
    for place, other in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        order[place] = other
    with (folder / "metadata.jsonl").open("a") as lines:
        for number, (cell, place) in enumerate(zip(cells, order, strict=True), start=first):
            side = SIDE_PX // 4
            picture = np.kron(16 * cell + 8, np.ones((side, side))).astype(np.uint8)
            cv2.imwrite(str(folder / f"{number}.png"), picture)
            row = {"file_name": f"{number}.png", "text": captions[place]}
            lines.write(json.dumps(row) + "\n")
