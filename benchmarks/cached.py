"""An epoch of vanilla training on cached features, beside one through the frozen towers.

    python benchmarks/cached.py

Heads are trained by the recipe `frozen` on the towers of open_clip's ViT-B-16. The towers have
random weights and the cached features random values, since neither changes the time. The script
runs on the CPU. Epochs on cached features are measured whole, with the reading of the
memory-mapped store; the median of --epochs counts. Through the towers, whole steps are measured;
the towers run without gradient and in the precision of the stage `features`. The median of --steps
is multiplied by the steps of an epoch, so that this time is extrapolated. The images are decoded
and resized beforehand.

Columns:
    features of the batch  where the features come from: the store, the image tower, or both towers
    s a step               seconds of a training step
    s an epoch             seconds of an epoch
    times the cached       the epoch, divided by an epoch on cached features
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from random_data import ROOT, write_features
from script import new_parser, parse, print_header, print_row
from structxlip.config import Params, load_params
from structxlip.models.structxlip import Batch
from structxlip.models.towers import ImageTower, TextTower, load_encoders
from structxlip.training.assembly import Training, assemble
from structxlip.training.run import TrainingRun

CLIP = "ViT-B-16"
CAPTION = "a dog stands left of a small lamp and three birds sit in the tree above it"
TINY_CLIP: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
SMOKE = {"pairs": 64, "epochs": 2, "steps": 2, "batch": 16}
Features = Callable[[Batch], Batch]  # replaces features of a batch


def make_params(folder: Path, clip: dict[str, Any], batch_size: int | None) -> Params:
    """The recipe `frozen` with a random CLIP as both towers."""
    config = folder / "random_clip.json"
    config.write_text(json.dumps(clip))
    content = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    content["recipe"] = "frozen"
    recipe = content["recipes"]["frozen"]
    recipe["model"] |= {
        "image_tower": f"open_clip:{config}",
        "text_tower": f"open_clip:{config}",
        "image_px": clip["vision_cfg"]["image_size"],
        "embed_dim": clip["embed_dim"],
    }
    if batch_size is not None:
        recipe["train"]["batch_size"] = batch_size
    return Params.model_validate(content)


def step_seconds(
    training: Training, features: Features, *, epoch: int, most: int | None = None
) -> list[float]:
    """The seconds of the first ``most`` steps of an epoch, or of all its steps."""
    seconds = []
    for step, rows in enumerate(training.batches.epoch(epoch)[:most]):
        started = time.perf_counter()
        batch = training.batches.batch(rows, epoch, step)
        training.loop.step(features(batch), epoch, step)
        seconds.append(time.perf_counter() - started)
    return seconds


def measure(params: Params, folder: Path, pairs: int, epochs: int, steps: int) -> dict[str, Any]:
    """Print the table; return its figures by name."""
    model = params.recipe_settings.model
    images, texts = load_encoders(**model.encoder_settings())
    assert isinstance(images, ImageTower)
    assert isinstance(texts, TextTower)
    run = TrainingRun(params, "vanilla", folder / "features", folder / "edges")
    write_features(
        run.features, model, {"train": pairs}, image_dim=images.dim, text_dim=texts.dim, chunks=0
    )
    training = assemble(run)
    size, steps_per_epoch = training.batches.batch_size, training.batches.steps_per_epoch
    shape = (size, model.image_px, model.image_px, 3)
    pixels = list(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    captions = [f"{CAPTION}, {i}" for i in range(size)]

    def as_cached(batch: Batch) -> Batch:
        return batch

    def through_image_tower(batch: Batch) -> Batch:
        return batch | Batch(image=torch.from_numpy(images.encode(pixels)))

    def through_both_towers(batch: Batch) -> Batch:
        caption, _ = texts.encode(captions)
        return through_image_tower(batch) | Batch(caption=torch.from_numpy(caption))

    print(
        f"{pairs:,} pairs, {steps_per_epoch} steps of {size} an epoch, "
        f"{torch.get_num_threads()} threads\n"
    )
    print_header("features of the batch", "s a step", "s an epoch", "times the cached")
    step_seconds(training, as_cached, epoch=0)  # warm up
    cached_s = statistics.median(
        sum(step_seconds(training, as_cached, epoch=epoch)) for epoch in range(1, epochs + 1)
    )
    print_row("cached", f"{cached_s / steps_per_epoch:.4f}", f"{cached_s:.2f}", 1)
    figures = {"pairs": pairs, "batch_size": size, "cached_epoch_s": cached_s}
    images.encode(pixels[:8])  # warm up
    texts.encode(captions[:8])
    for label, key, features in (
        ("image tower, captions cached", "image_tower", through_image_tower),
        ("both towers", "both_towers", through_both_towers),
    ):
        step_s = statistics.median(step_seconds(training, features, epoch=1, most=steps))
        epoch_s = step_s * steps_per_epoch
        figures |= {f"{key}_epoch_s": epoch_s, f"{key}_ratio": epoch_s / cached_s}
        print_row(
            label, f"{step_s:.2f}", f"{epoch_s:.0f} (extrapolated)", f"{epoch_s / cached_s:.0f}"
        )
    return figures


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=5, help="measured on cached features")
    parser.add_argument("--steps", type=int, default=2, help="measured through the towers")
    parser.add_argument("--batch", type=int, help="pairs of a batch; by default as in the recipe")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parse(parser, SMOKE)
    clip = TINY_CLIP if options.smoke else open_clip.get_model_config(CLIP)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        params = make_params(folder, clip, options.batch)
        figures = measure(params, folder, options.pairs, options.epochs, options.steps)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
