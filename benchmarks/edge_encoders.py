"""What an edge encoder gives against what it costs: recall on validation, and milliseconds; and
the same of more or fewer chunks a caption.

Run it where `dvc repro` has made the features of the recipe `seed`:

    python benchmarks/edge_encoders.py --dataset scenes --seeds 0

R@1 is the mean of both ways on the validation split, fused at the alpha that is best there, as the
protocol chooses it, and of images alone; over seeds it is the mean. Milliseconds are of forward and
backward for one image of a batch, the encoders taking turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
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

Layers = tuple[tuple[int, int, int], ...]
SHIPPED = "shipped"
VARIANTS: dict[str, Layers] = {  # (channels, kernel, stride) of each convolution
    SHIPPED: edge_encoder.LAYERS,
    "half as wide": ((24, 7, 4), (48, 3, 2), (80, 3, 2), (112, 3, 2)),
    "wider": ((64, 7, 4), (128, 3, 2), (192, 3, 2), (256, 3, 2)),
    "finer first step": ((24, 5, 2), (48, 3, 2), (96, 3, 2), (160, 3, 2), (224, 3, 2)),
    "coarser first step": ((96, 9, 8), (160, 3, 2), (224, 3, 2)),
}
CHUNKS = (1, 4)  # a caption, with the encoder that is shipped
ROUNDS = 15


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


def milliseconds(maps: torch.Tensor, dim: int) -> dict[str, float]:
    """Of forward and backward, an image."""
    found: dict[str, list[float]] = {name: [] for name in VARIANTS}
    encoders = {name: encoder(layers, dim) for name, layers in VARIANTS.items()}
    for _ in range(ROUNDS):
        for name, made in encoders.items():
            made.zero_grad()
            started = time.perf_counter()
            embedding, patches = made(maps)
            (embedding.sum() + patches.sum()).backward()
            found[name].append(1000 * (time.perf_counter() - started) / len(maps))
    return {name: statistics.median(times[1:]) for name, times in found.items()}


def encoder(layers: Layers, dim: int) -> edge_encoder.EdgeEncoder:
    edge_encoder.LAYERS = layers
    return edge_encoder.EdgeEncoder(dim)


def but(params: Params, **changes: int) -> Params:
    """With other values of `train`."""
    settings = params.active.train.model_copy(update=changes)
    recipe = params.active.model_copy(update={"train": settings})
    return params.model_copy(update={"recipes": {params.recipe: recipe}})


def row(name: str, cells: dict[str, Any]) -> None:
    shown = (
        f"{cells['parameters'] / 1e6:.2f}" if cells["parameters"] else "",
        f"{cells['ms']:.2f}" if cells["ms"] else "",
        " ".join(f"{alpha:g}" for alpha in cells["alphas"]),
        f"{statistics.mean(cells['fused']):.1f}",
        f"{statistics.mean(cells['images']):.1f}",
    )
    print(f"| {name} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--epochs", type=int, help="fewer than the recipe has, to try it")
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--json", type=Path, help="also write what was found")
    options = parser.parse_args()
    params, data = load_params(options.params), Path("data") / options.dataset
    if options.epochs:
        params = but(params, epochs=options.epochs)
    store = FeatureStore(data / "features")
    edges = EdgeMaps(data / "edges", store.ids)
    maps = torch.from_numpy(edges.maps(store.rows("train")[: params.active.train.batch_size]))
    costs = milliseconds(maps, params.active.model.embed_dim)
    print("| encoder | million parameters | ms an image | α | R@1 fused | R@1 of images |")
    print("|---|---|---|---|---|---|")
    found: dict[str, dict[str, Any]] = {}
    chunks = {f"{SHIPPED}, chunks_per_caption {count}": count for count in CHUNKS}
    for name in ("none (vanilla)", *VARIANTS, *chunks):
        cells = found[name] = {"parameters": 0, "ms": costs.get(name)}
        cells |= {"alphas": [], "fused": [], "images": []}
        for seed in options.seeds:
            one = params.model_copy(update={"seed": seed})
            if name in chunks:
                one = but(one, chunks_per_caption=chunks[name])
            if name not in (*VARIANTS, *chunks):
                model, alpha = train(one, "vanilla", store, edges), 0.0
            else:
                edge_encoder.LAYERS = VARIANTS.get(name, VARIANTS[SHIPPED])
                model = train(one, "structxlip", store, edges)
                alpha = choose_alpha(model, store, edges, params.active.evaluation.alphas)
                cells["parameters"] = sum(p.numel() for p in model.edge_encoder.parameters())
            cells["alphas"].append(alpha)
            cells["fused"].append(recall(model, store, edges, alpha))
            cells["images"].append(recall(model, store, edges, 0.0))
        row(name, cells)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
