"""An epoch of vanilla training on cached features beside one through a frozen ViT-B/16, on the CPU.

    python benchmarks/cached.py

Heads are trained by the recipe `seed` on the towers of open_clip's ViT-B-16, with random weights:
speed is the same. Epochs on cached features are measured whole, reading the memory-mapped store
included; the median of --epochs. Through the towers whole steps are measured, the towers without
gradient and in the precision that the stage `features` gives them, and the median of --steps is
multiplied by the steps of an epoch: that time is extrapolated. Images are decoded and of their size
already; the rows of the store are random, since their values change no time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import torch

from structxlip.config import Params, load_params
from structxlip.data.feature_store import FeatureSizes, FeatureStore, FeatureWriter
from structxlip.models.structxlip import Batch
from structxlip.models.towers import ImageTower, TextTower, load_encoders
from structxlip.training.arm import arm_batches, arm_model
from structxlip.training.loop import Task, composite_loss

ROOT = Path(__file__).parents[1]
NAME, IMAGE_PX, DIM = "ViT-B-16", 224, 512
TEXT = "a dog stands left of a small lamp and three birds sit in the tree above it"
Features = Callable[[Batch], Batch]


def make_params(folder: Path) -> Params:
    """The recipe `seed` with a random ViT-B/16 as both towers."""
    config = folder / "random_vit_b_16.json"
    config.write_text(json.dumps(open_clip.get_model_config(NAME)))
    content = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    content["recipe"] = "seed"
    content["recipes"]["seed"]["model"] |= {
        "image_tower": f"open_clip:{config}",
        "text_tower": f"open_clip:{config}",
        "image_px": IMAGE_PX,
        "embed_dim": DIM,
    }
    return Params.model_validate(content)


def write_store(
    folder: Path, params: Params, pairs: int, images: ImageTower, texts: TextTower
) -> FeatureStore:
    """A store of training pairs with a caption each."""
    sizes = FeatureSizes(
        encoders=params.active.model.encoders(),
        pairs=pairs,
        captions=pairs,
        chunks=0,
        image=images.row,
        text=texts.row,
        chunk=texts.chunk_row,
    )
    writer = FeatureWriter(
        folder,
        sizes,
        ids=[str(i) for i in range(pairs)],
        splits=["train"] * pairs,
        caption_counts=[1] * pairs,
        chunk_counts=[0] * pairs,
        caption_texts=[f"{TEXT}, {i}" for i in range(pairs)],
    )
    rng = np.random.default_rng(0)
    for name in ("image", "caption", "structure"):
        writer.append(**{name: rng.standard_normal((pairs, DIM), np.float32).tobytes()})
    writer.close()
    return FeatureStore(folder)


class Training:
    """Vanilla training, whose batches ``features`` may change."""

    def __init__(self, params: Params, store: FeatureStore) -> None:
        vanilla = params.active.arms.vanilla
        model = arm_model(params, vanilla, store)
        self.batches = arm_batches(params, vanilla, store, None)
        self.task = Task(model, composite_loss(vanilla, model.embed_dim, gather=False))
        self.optimizer = torch.optim.AdamW(self.task.parameters(), lr=1e-3)

    def steps(self, epoch: int, most: int | None, features: Features) -> list[float]:
        """The seconds of each of the first steps of an epoch."""
        found = []
        for step, pairs in enumerate(self.batches.epoch(epoch)[:most]):
            started = time.perf_counter()
            losses = self.task(features(self.batches.batch(pairs, epoch, step)), {})
            self.optimizer.zero_grad()
            losses["loss"].backward()
            self.optimizer.step()
            self.task.model.clamp_logit_scale()
            found.append(time.perf_counter() - started)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=6000)
    parser.add_argument("--epochs", type=int, default=5, help="measured on cached features")
    parser.add_argument("--steps", type=int, default=2, help="measured through the towers")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        params = make_params(folder)
        images, texts = load_encoders(**params.active.model.encoders())
        assert isinstance(images, ImageTower)
        assert isinstance(texts, TextTower)
        training = Training(
            params, write_store(folder / "features", params, options.pairs, images, texts)
        )
        size, steps = training.batches.batch_size, training.batches.steps_per_epoch
        pixels = np.random.default_rng(0).integers(0, 256, (size, IMAGE_PX, IMAGE_PX, 3), np.uint8)
        captions = [f"{TEXT}, {i}" for i in range(size)]

        def image_tower(batch: Batch) -> Batch:
            return batch | Batch(image=torch.from_numpy(images.encode(list(pixels))))

        def both_towers(batch: Batch) -> Batch:
            caption, _ = texts.encode(captions)
            return image_tower(batch) | Batch(caption=torch.from_numpy(caption))

        print(
            f"{options.pairs:,} pairs, {steps} steps of {size} an epoch, "
            f"{torch.get_num_threads()} threads\n"
        )
        print("| features of the batch | s a step | s an epoch | times the cached |")
        print("|---|---|---|---|", flush=True)
        training.steps(0, None, lambda batch: batch)  # warm up
        epochs = [
            sum(training.steps(epoch, None, lambda batch: batch))
            for epoch in range(1, options.epochs + 1)
        ]
        cached = statistics.median(epochs)
        print(f"| cached | {cached / steps:.4f} | {cached:.2f} | 1 |", flush=True)
        figures = {"pairs": options.pairs, "batch_size": size, "cached_epoch_s": cached}
        ways = {"image tower, captions cached": image_tower, "both towers": both_towers}
        images.encode(list(pixels[:8]))  # warm up
        texts.encode(captions[:8])
        for label, features in ways.items():
            step = statistics.median(training.steps(1, options.steps, features))
            epoch, ratio = step * steps, step * steps / cached
            key = label.partition(",")[0].replace(" ", "_")
            figures |= {f"{key}_epoch_s": epoch, f"{key}_ratio": ratio}
            print(
                f"| {label} | {step:.2f} | {epoch:.0f} (extrapolated) | {ratio:.0f} |", flush=True
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
