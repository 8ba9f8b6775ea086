"""Recall and cost of edge encoders of different sizes, and of more or fewer chunks a caption.

Run it where `dvc repro` has made the features of the recipe `frozen`:

    python benchmarks/edge_encoders.py --dataset scenes --seeds 0 1 2

Milliseconds are measured on a batch, with all rows taking turns, and divided by its images; the
fastest of 15 rounds counts. With an empty `--seeds` nothing is trained and the recalls are empty.

Columns:
    encoder             the channels of each convolution; or vanilla, which has no edge encoder
    million parameters  of the edge encoder
    ms                  forward and backward pass of the edge encoder alone, for each image
    ms a step           a whole training step, for each image
    times               ms a step divided by ms
    α                   weight of the fused edge branch for each seed, as validation chose it
    R@1 fused           recall at 1 on validation with edges fused at α, in percent: the mean of
                        both ways and of all seeds
    of images           the same recall of the image branch alone
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from random_data import project_folder, with_cnn
from script import new_parser, parse, print_header, print_row
from structxlip.config import Arm, Params, Recipe, load_params
from structxlip.evaluation.embedding import Scorer, embed_parts
from structxlip.evaluation.protocol import Scorers, recall_at_1
from structxlip.features.edge_maps import EdgeMaps
from structxlip.models import edge_branch
from structxlip.models.edge_encoder import EdgeEncoder
from structxlip.models.structxlip import StructXLIP
from structxlip.training.assembly import Training, assemble
from structxlip.training.memory import KEEP_FREED
from structxlip.training.run import TrainingRun

Layers = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Variant:
    """An edge encoder, and how many chunks of a caption the region-chunk loss reads.

    Attributes:
        layers: the channels, the kernel and the stride of each convolution.
        chunks: for each caption; None for as many as the recipe says.
    """

    layers: Layers
    chunks: int | None = None


def four_layers(*channels: int) -> Layers:
    """Four convolutions with the kernels and strides of the shipped encoder."""
    return tuple(zip(channels, (7, 3, 3, 3), (4, 2, 2, 2), strict=True))


VARIANTS = {
    "16, 24, 40, 56 channels": Variant(four_layers(16, 24, 40, 56)),
    "24, 48, 80, 112": Variant(four_layers(24, 48, 80, 112)),
    "48, 96, 160, 224": Variant(four_layers(48, 96, 160, 224)),
    "64, 128, 192, 256": Variant(four_layers(64, 128, 192, 256)),
    "stride 8; 96, 160, 224": Variant(((96, 9, 8), (160, 3, 2), (224, 3, 2))),
    "24, 48, 80, 112; 1 chunk": Variant(four_layers(24, 48, 80, 112), chunks=1),
    "24, 48, 80, 112; 4 chunks": Variant(four_layers(24, 48, 80, 112), chunks=4),
}
VANILLA = "none (vanilla)"
COLUMNS = (
    "encoder",
    "million parameters",
    "ms",
    "ms a step",
    "times",
    "α",
    "R@1 fused",
    "of images",
)
SMOKE = {
    "rows": [VANILLA, "16, 24, 40, 56 channels", "24, 48, 80, 112; 1 chunk"],
    "rounds": 2,
    "threads": 1,
}


@dataclass
class Row:
    """One row of the table.

    Attributes:
        parameters: of the edge encoder; 0 without one.
        encoder_ms, step_ms: for each image; None without an edge encoder.
        alphas, fused, images: the weight α and both recalls for each seed.
    """

    parameters: int = 0
    encoder_ms: float | None = None
    step_ms: float | None = None
    alphas: list[float] = field(default_factory=list)
    fused: list[float] = field(default_factory=list)
    images: list[float] = field(default_factory=list)

    def cells(self) -> list[str]:
        """The cells of the table."""
        costs = ["", "", ""]
        if self.encoder_ms and self.step_ms:
            times = self.step_ms / self.encoder_ms
            costs = [f"{value:.2f}" for value in (self.encoder_ms, self.step_ms, times)]
        return [
            f"{self.parameters / 1e6:.2f}" if self.parameters else "",
            *costs,
            " ".join(f"{alpha:g}" for alpha in self.alphas),
            *(f"{statistics.mean(of):.1f}" if of else "" for of in (self.fused, self.images)),
        ]


@contextmanager
def edge_layers(layers: Layers) -> Iterator[None]:
    """Build edge encoders with these layers inside the block."""
    names = vars(edge_branch)
    names["EdgeEncoder"] = partial(EdgeEncoder, layers=layers)
    try:
        yield
    finally:
        names["EdgeEncoder"] = EdgeEncoder


def assemble_arm(params: Params, arm: Arm, data: Path, variant: Variant | None) -> Training:
    """The training of an arm, with another edge encoder where a variant is given."""
    if variant is None:
        return assemble(TrainingRun(params, arm, data / "features", data / "edges"))
    if variant.chunks is not None:
        params = with_train(params, chunks_per_caption=variant.chunks)
    with edge_layers(variant.layers):
        return assemble(TrainingRun(params, arm, data / "features", data / "edges"))


def read_by_cnn(params: Params) -> Params:
    """The parameters with an edge CNN, whatever branch the recipe has."""
    content = params.recipe_settings.model_dump()
    with_cnn(content)
    recipes = params.recipes | {params.recipe: Recipe.model_validate(content)}
    return params.model_copy(update={"recipes": recipes})


def with_train(params: Params, **changes: int) -> Params:
    """The parameters with other values of `train`."""
    settings = params.recipe_settings.train.model_copy(update=changes)
    recipe = params.recipe_settings.model_copy(update={"train": settings})
    return params.model_copy(update={"recipes": params.recipes | {params.recipe: recipe}})


def train(training: Training, epochs: int) -> StructXLIP:
    """Train all steps, without validation and checkpoints; returns the model."""
    for epoch in range(epochs):
        for step, rows in enumerate(training.batches.epoch(epoch)):
            training.loop.step(training.batches.batch(rows, epoch, step), epoch, step)
    return training.model.eval()


def milliseconds(
    params: Params, data: Path, variants: dict[str, Variant], rounds: int
) -> dict[str, tuple[float, float]]:
    """The time of the edge encoder alone and of a whole step, in milliseconds for each image."""
    work = {name: encoder_and_step(params, data, variant) for name, variant in variants.items()}
    seconds: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in work}
    for _ in range(rounds):
        for name, calls in work.items():
            for times, call in zip(seconds[name], calls, strict=True):
                started = time.perf_counter()
                call()
                times.append(time.perf_counter() - started)
    per_image = 1000 / assemble_arm(params, "vanilla", data, None).batches.batch_size
    return {  # the first round warms up
        name: (per_image * min(encoder[1:]), per_image * min(step[1:]))
        for name, (encoder, step) in seconds.items()
    }


def encoder_and_step(
    params: Params, data: Path, variant: Variant
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Functions that run the edge encoder, and a whole step, on the first batch."""
    training = assemble_arm(params, "structxlip", data, variant)
    batch = training.batches.batch(training.batches.epoch(0)[0], 0, 0)
    encoder = encoder_of(training)

    def encode() -> None:
        encoder.zero_grad()
        embedding, patches = encoder(batch["edges"])
        (embedding.sum() + patches.sum()).backward()

    return encode, lambda: training.loop.step(batch, 0, 0)


def encoder_of(training: Training) -> EdgeEncoder:
    """The edge encoder of a training."""
    encoder = training.model.edge_encoder
    assert isinstance(encoder, EdgeEncoder)
    return encoder


def measure_recall(
    params: Params, data: Path, variant: Variant | None, seeds: list[int], row: Row
) -> None:
    """Train with every seed, and add α and the recalls to a row."""
    arm: Arm = "vanilla" if variant is None else "structxlip"
    recipe = params.recipe_settings
    for seed in seeds:
        training = assemble_arm(params.model_copy(update={"seed": seed}), arm, data, variant)
        model, store = train(training, training.loop.settings.epochs), training.store
        edges = training.view or EdgeMaps(data / "edges", store.ids)
        val = embed_parts(model, store, edges, "val")
        chosen = Scorers(recipe.evaluation.alphas).choose(val)
        row.alphas.append(chosen.scorer.alpha)
        row.fused.append(chosen.recall)
        row.images.append(recall_at_1(val.scored(Scorer())))


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--rows", nargs="+", choices=(VANILLA, *VARIANTS), help="only these rows")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--epochs", type=int, help="by default as many as in the recipe")
    parser.add_argument("--rounds", type=int, default=15, help="in which rows take turns")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parse(parser, SMOKE)
    if not options.smoke and not os.environ.items() >= KEEP_FREED.items():
        # Start again with the allocator of training workers.
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEEP_FREED)
    torch.set_num_threads(options.threads)
    rows: dict[str, Row] = {}
    with project_folder(options.smoke) as folder:
        params, data = read_by_cnn(load_params(folder / options.params)), folder / "data"
        data /= options.dataset
        if options.epochs:
            params = with_train(params, epochs=options.epochs)
        chosen = {name: VARIANTS.get(name) for name in options.rows or (VANILLA, *VARIANTS)}
        variants = {name: variant for name, variant in chosen.items() if variant}
        costs = milliseconds(params, data, variants, options.rounds)
        print_header(*COLUMNS)
        for name, variant in chosen.items():
            row = rows[name] = Row()
            if variant:
                encoder = encoder_of(assemble_arm(params, "structxlip", data, variant))
                row.parameters = sum(p.numel() for p in encoder.parameters())
                row.encoder_ms, row.step_ms = costs[name]
            measure_recall(params, data, variant, options.seeds, row)
            print_row(name, *row.cells())
    if options.json:
        figures = {name: vars(row) for name, row in rows.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
