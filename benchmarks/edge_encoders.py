"""What an edge encoder gives against what it costs: recall on validation, and milliseconds; and
the same of more or fewer chunks a caption in the region-chunk loss.

Run it where `dvc repro` has made the features of the recipe `seed`:

    python benchmarks/edge_encoders.py --dataset scenes --seeds 0 1 2

Milliseconds are of forward and backward for one image of a batch, of the encoder alone and of a
whole step, all rows taking turns; `times` is the one to the other. R@1 is the mean of both ways on
the validation split, fused at the alpha that is best there, as the protocol chooses it, and of
images alone; over seeds it is the mean. Without seeds nothing is trained.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from structxlip.config import Arm, Params, load_params
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.evaluation.protocol import choose_alpha, embed_split
from structxlip.models import edge_encoder
from structxlip.models.structxlip import StructXLIP
from structxlip.training.arm import arm_batches, arm_loop, arm_model
from structxlip.training.memory import KEEP_FREED

Layers = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Variant:
    layers: Layers  # (channels, kernel, stride) of each convolution
    chunks: int | None = None  # a caption; None: those of the recipe

    def encoder(self, dim: int) -> edge_encoder.EdgeEncoder:
        edge_encoder.LAYERS = self.layers
        return edge_encoder.EdgeEncoder(dim)

    def params(self, params: Params) -> Params:
        edge_encoder.LAYERS = self.layers
        return params if self.chunks is None else but(params, chunks_per_caption=self.chunks)


def four(*channels: int) -> Layers:
    return tuple(zip(channels, (7, 3, 3, 3), (4, 2, 2, 2), strict=True))


VARIANTS = {
    "16, 24, 40, 56 channels": Variant(four(16, 24, 40, 56)),
    "24, 48, 80, 112": Variant(four(24, 48, 80, 112)),
    "48, 96, 160, 224": Variant(four(48, 96, 160, 224)),
    "64, 128, 192, 256": Variant(four(64, 128, 192, 256)),
    "stride 8; 96, 160, 224": Variant(((96, 9, 8), (160, 3, 2), (224, 3, 2))),
    "24, 48, 80, 112; 1 chunk": Variant(four(24, 48, 80, 112), chunks=1),
    "24, 48, 80, 112; 4 chunks": Variant(four(24, 48, 80, 112), chunks=4),
}
VANILLA = "none (vanilla)"
ROUNDS = 15
RECALLS = ("fused", "images")


def train(params: Params, arm: Arm, store: FeatureStore, edges: EdgeMaps) -> StructXLIP:
    """All steps of an arm, without validation and checkpoints."""
    losses = getattr(params.active.arms, arm)
    batches = arm_batches(params, losses, store, edges if arm == "structxlip" else None)
    model = arm_model(params, losses, store)
    loop = arm_loop(params, losses, model, batches)
    for epoch in range(params.active.train.epochs):
        for step, drawn in enumerate(batches.epoch(epoch)):
            loop.step(batches.batch(drawn, epoch, step), epoch, step)
    return model.eval()


def recall(model: StructXLIP, store: FeatureStore, edges: EdgeMaps, alpha: float) -> float:
    """R@1 on validation in percent, mean of both ways."""
    found = embed_split(model, store, edges, "val", alpha).ranks().recall((1,))
    return float(np.mean(list(found.values())))


def milliseconds(
    params: Params, store: FeatureStore, edges: EdgeMaps, names: list[str]
) -> dict[str, list[float]]:
    """Of the encoder alone and of a whole step, an image."""

    def work(variant: Variant) -> list[Callable[[], object]]:
        chosen = variant.params(params)
        losses = chosen.active.arms.structxlip
        batches = arm_batches(chosen, losses, store, edges)
        loop = arm_loop(chosen, losses, arm_model(chosen, losses, store), batches)
        batch, made = (
            batches.batch(batches.epoch(0)[0], 0, 0),
            variant.encoder(loop.inner.model.embed_dim),
        )

        def encode() -> None:
            made.zero_grad()
            embedding, patches = made(batch["edges"])
            (embedding.sum() + patches.sum()).backward()

        return [encode, lambda: loop.step(batch, 0, 0)]

    works = {name: work(VARIANTS[name]) for name in names}
    found: dict[str, list[list[float]]] = {name: [[], []] for name in works}
    for _ in range(ROUNDS):
        for name, pair in works.items():
            for times, take in zip(found[name], pair, strict=True):
                started = time.perf_counter()
                take()
                times.append(1000 * (time.perf_counter() - started))
    size = params.active.train.batch_size
    return {name: [min(times[1:]) / size for times in pair] for name, pair in found.items()}


def but(params: Params, **changes: int) -> Params:
    """With other values of `train`."""
    settings = params.active.train.model_copy(update=changes)
    recipe = params.active.model_copy(update={"train": settings})
    return params.model_copy(update={"recipes": {params.recipe: recipe}})


def row(name: str, cells: dict[str, Any]) -> None:
    encoder, step = cells["ms"] or (None, None)
    shown = (
        f"{cells['parameters'] / 1e6:.2f}" if cells["parameters"] else "",
        *(f"{encoder:.2f} | {step:.2f} | {step / encoder:.2f}" if encoder else " | | ",),
        " ".join(f"{alpha:g}" for alpha in cells["alphas"]),
        *(f"{statistics.mean(cells[what]):.1f}" if cells[what] else "" for what in RECALLS),
    )
    print(f"| {name} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--rows", nargs="+", choices=(VANILLA, *VARIANTS), help="those alone")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, help="fewer than the recipe has, to try it")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--json", type=Path, help="also write what was found")
    options = parser.parse_args()
    if not os.environ.items() >= KEEP_FREED.items():  # as our workers have it
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_FREED)
    torch.set_num_threads(options.threads)
    params, data = load_params(options.params), Path("data") / options.dataset
    if options.epochs:
        params = but(params, epochs=options.epochs)
    store = FeatureStore(data / "features")
    edges = EdgeMaps(data / "edges", store.ids)
    rows = options.rows or [VANILLA, *VARIANTS]
    costs = milliseconds(params, store, edges, [name for name in rows if name != VANILLA])
    print("| encoder | million parameters | ms | ms a step | times | α | R@1 fused | of images |")
    print("|---|---|---|---|---|---|---|---|")
    found: dict[str, dict[str, Any]] = {}
    for name in rows:
        cells = found[name] = {"parameters": 0, "ms": costs.get(name), "alphas": []}
        cells |= {what: [] for what in RECALLS}
        variant = VARIANTS.get(name)
        if variant:
            dim = params.active.model.embed_dim
            cells["parameters"] = sum(p.numel() for p in variant.encoder(dim).parameters())
        for seed in options.seeds:
            one, alpha = params.model_copy(update={"seed": seed}), 0.0
            if variant is None:
                model = train(one, "vanilla", store, edges)
            else:
                model = train(variant.params(one), "structxlip", store, edges)
                alpha = choose_alpha(model, store, edges, params.active.evaluation.alphas)
            cells["alphas"].append(alpha)
            cells["fused"].append(recall(model, store, edges, alpha))
            cells["images"].append(recall(model, store, edges, 0.0))
        row(name, cells)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
