"""Speed and memory of training, beside other ways to do the same work.

    python benchmarks/training.py
    python benchmarks/training.py --tables paper --dataset fashion --path DIR

Four tables:
    paper    the recipe `paper` with a random ViT-B/16, beside the same recipe written straight from
             its formulas (straightforward.py); first the losses of both on the same pairs, and the
             reading of batches alone
    vanilla  plain CLIP with a random ViT-B/32, beside the training step of the package open_clip
    loader   training on cached features (recipe `frozen`), beside the loading of its batches
    cached   training on cached features, beside its edge encoder alone

The script works in a temporary folder, in which the stages make the artifacts. Contestants run in
processes of their own, on the same pairs, and take turns step by step.

Columns:
    s a step    seconds by the clock of the fastest and of the slowest step
    samples/s   over all steps, since some batches have more to do than others
    times       the rate, divided by that of the first row
    CPU s       seconds of the processors for each step
    times       those of the first row, divided by these
    peak MiB    the highest resident memory of the process during the steps
    growth MiB  the part of it beyond the imports, the data and the model
    share       the growth, divided by that of the first row

Columns of the losses:
    ours                     the loss in fp32
    difference, same features  from the formulas, on the same features
    same weights and inputs    from the formulas, with the same weights, pixels and tokens
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from contestants import (
    LONG_TEXT,
    agreement,
    edge_encoder,
    open_clip_training,
    our_loading,
    our_steps,
    straightforward_loading,
    straightforward_paper,
)
from duel import Contestant, Context, Measured, duel, new_context
from projects import Project, export, prepare
from script import new_parser, parse, print_header, print_row
from structxlip.config import Arm

Clip = dict[str, Any]
VIT_B_16: Clip = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 512,
        "heads": 8,
        "layers": 12,
    },
}
VIT_B_32: Clip = VIT_B_16 | {"vision_cfg": VIT_B_16["vision_cfg"] | {"patch_size": 32}}
TINY: Clip = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": VIT_B_16["text_cfg"] | {"width": 32, "heads": 2, "layers": 2},
}
STRAIGHT, OPEN_CLIP, OURS = "straight from the formulas", "open_clip_train", "structxlip"
LARGE_CROPS = {"region_px": None}  # crops as large as the images
ARMS: tuple[Arm, ...] = ("vanilla", "structxlip")
SMOKE = {"pairs": 8, "batch": 4, "steps": 1, "short_steps": 1, "warm_up": 0, "threads": 1}
# Imported once by the server that the processes of a smoke run are forked from.
IMPORTED = [
    "open_clip_train.train",
    "pyarrow.dataset",
    "spacy",
    "structxlip.stages.captions",
    "structxlip.stages.edges",
    "structxlip.stages.features",
    "structxlip.training.assembly",
    "torch._dynamo",
    "torchvision.transforms",
    "transformers.models.clip.modeling_clip",
]


class Benchmark:
    """The tables, each of which prints itself and returns its figures.

    Args:
        folder: holds the projects.
        options: of the command line.
        context: starts processes.
    """

    def __init__(self, folder: Path, options: argparse.Namespace, context: Context) -> None:
        self.folder, self.options, self.context = folder, options, context

    def paper(self) -> dict[str, Any]:
        clip = self._clip(VIT_B_16)
        project = self._clip_project("paper", clip, max_tokens=LONG_TEXT)
        file, of_batch = export(project, self.context), f"batches of {self.options.batch}"
        figures: dict[str, Any] = {}
        figures["losses"] = self._losses(project.with_changes(train=LARGE_CROPS))
        figures["reading"] = self._duel(
            f"Reading {of_batch} alone",
            {
                STRAIGHT: partial(straightforward_loading, project, file),
                OURS: partial(our_loading, project, "structxlip"),
            },
            steps=self.options.short_steps,
            foreign=STRAIGHT,
        )
        for name, variant in self._paper_variants(project).items():
            # One duel after the other, since each fills the memory.
            figures[name] = self._duel(
                f"Recipe `paper`, ViT-B/16, {of_batch}, {self.options.precision}",
                {
                    STRAIGHT: partial(straightforward_paper, project, file, clip),
                    name: partial(our_steps, variant, "structxlip"),
                },
                steps=self.options.steps,
                foreign=STRAIGHT,
            )
        return figures

    def vanilla(self) -> dict[str, Any]:
        project = self._clip_project("vanilla", self._clip(VIT_B_32), max_tokens=None)
        return self._duel(
            f"Plain CLIP, ViT-B/32, batches of {self.options.batch}, {self.options.precision}",
            {
                OPEN_CLIP: partial(open_clip_training, project, full_texts=True),
                f"{OURS}, texts of 77 tokens": partial(
                    our_steps, project, "vanilla", full_texts=True
                ),
                f"{OURS}, texts as they are": partial(our_steps, project, "vanilla"),
            },
            steps=self.options.short_steps,
            foreign=OPEN_CLIP,
        )

    def loader(self) -> dict[str, Any]:
        project = self._frozen_project
        figures: dict[str, Any] = {}
        for arm in ARMS:
            figures[arm] = self._duel(
                f"Batches of {_batch_size(project)} from cached features, {arm}",
                {
                    "training": partial(our_steps, project, arm, loads=False),
                    "loading": partial(our_loading, project, arm),
                },
                steps=self.options.short_steps,
                samples=_batch_size(project),
            )
            ratio = figures[arm]["loading"]["times"]
            print(f"\nLoading is {ratio:.0f} times as fast as training.")
        return figures

    def cached(self) -> dict[str, Any]:
        project, alone = self._frozen_project, "edge encoder, forward and backward"
        figures = self._duel(
            f"Batches of {_batch_size(project)} from cached features",
            {
                alone: partial(edge_encoder, project),
                OURS: partial(our_steps, project, "structxlip", loads=False),
                f"{OURS} with loading": partial(our_steps, project, "structxlip"),
                "vanilla": partial(our_steps, project, "vanilla", loads=False),
            },
            steps=self.options.short_steps,
            samples=_batch_size(project),
        )
        print(f"\nA step takes {1 / figures[OURS]['times']:.2f} times as long as its edge encoder.")
        return figures

    def _clip(self, clip: Clip) -> Clip:
        return TINY if self.options.smoke else clip

    def _clip_project(self, name: str, clip: Clip, *, max_tokens: int | None) -> Project:
        """A project that trains all of a CLIP."""
        changes: dict[str, dict[str, Any]] = {"model": {"max_tokens": max_tokens}}
        if self.options.smoke:
            side = clip["vision_cfg"]["image_size"]
            changes["model"]["image_px"] = side
            changes["edges"] = {"size_px": side}
            changes["train"] = {"region_px": clip["vision_cfg"]["patch_size"]}
        return prepare(self.folder / name, self.options, self.context, "paper", clip, **changes)

    @cached_property
    def _frozen_project(self) -> Project:
        """A project that trains heads on cached features."""
        clip, changes = None, {}
        if self.options.smoke:
            clip = TINY
            model = {"image_px": TINY["vision_cfg"]["image_size"], "embed_dim": TINY["embed_dim"]}
            changes = {"model": model, "edges": {"size_px": 32}}
        folder = self.folder / "frozen"
        return prepare(folder, self.options, self.context, "frozen", clip, **changes)

    def _paper_variants(self, project: Project) -> dict[str, Project]:
        variants = {
            f"{OURS}, crops as large": project.with_changes(train=LARGE_CROPS),
            OURS: project,
        }
        if self.options.savings:
            micro = max(self.options.batch // 4, 1)
            variants |= {
                f"{OURS}, micro-batches of {micro}": project.with_changes(
                    machine={"micro_batch_size": micro}
                ),
                f"{OURS}, gradient checkpointing": project.with_changes(
                    machine={"gradient_checkpointing": True}
                ),
            }
        return variants

    def _losses(self, project: Project) -> dict[str, float]:
        """Print the losses, and their differences from the formulas."""
        work = {"losses": partial(agreement, project)}
        found = dict(duel(self.context, work, steps=1, warm_up=0)["losses"].values[0])
        print()
        print_header("", "ours", "difference, same features", "same weights and inputs")
        for name in (name for name in found if "," not in name):
            differences = (found[f"{name}, same {what}"] for what in ("features", "weights"))
            print_row(name, f"{found[name]:.6f}", *(f"{value:.1e}" for value in differences))
        return found

    def _duel(
        self,
        title: str,
        contestants: Mapping[str, Callable[[], Contestant]],
        *,
        steps: int,
        samples: int | None = None,
        foreign: str | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Let contestants take turns, and print a table with one row for each; returns it."""
        warm_up = self.options.warm_up
        print(f"\n{title}\n", flush=True)
        found = duel(self.context, contestants, steps=steps, warm_up=warm_up, foreign=foreign)
        return _print_table(found, samples or self.options.batch)


def _batch_size(project: Project) -> int:
    return project.run("vanilla").train.batch_size


def _print_table(found: dict[str, Measured], samples: int) -> dict[str, dict[str, Any]]:
    """Print a row for each contestant; the first is the reference of the others."""
    print_header(
        "", "s a step", "samples/s", "times", "CPU s", "times", "peak MiB", "growth MiB", "share"
    )
    reference, rows = next(iter(found.values())), {}
    for name, measured in found.items():
        row = {
            "samples_per_s": samples / measured.mean_s,
            "times": reference.mean_s / measured.mean_s,
            "cpu_times": reference.mean_cpu_s / measured.mean_cpu_s,
            "growth_share": measured.growth_mib / (reference.growth_mib or math.nan),
        }
        print_row(
            name,
            f"{min(measured.seconds):.3g} to {max(measured.seconds):.3g}",
            f"{row['samples_per_s']:.3g}",
            f"{row['times']:.2f}",
            f"{measured.mean_cpu_s:.3g}",
            f"{row['cpu_times']:.2f}",
            f"{measured.peak_mib:.0f}",
            f"{measured.growth_mib:.0f}",
            f"{row['growth_share']:.2f}",
        )
        rows[name] = asdict(measured) | row
    return rows


TABLES = {
    "paper": Benchmark.paper,
    "vanilla": Benchmark.vanilla,
    "loader": Benchmark.loader,
    "cached": Benchmark.cached,
}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--dataset", default="scenes", help="an entry or a preset of params.yaml")
    parser.add_argument("--path", type=Path, help="the folder or file of the dataset")
    parser.add_argument("--pairs", type=int, default=1024, help="training pairs that are used")
    parser.add_argument("--batch", type=int, default=8, help="pairs of a batch of a CLIP")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="of a CLIP")
    parser.add_argument("--steps", type=int, default=2, help="of the recipe `paper`")
    parser.add_argument("--short-steps", type=int, default=12, help="of all others")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before those measured")
    parser.add_argument(
        "--savings", action="store_true", help="add rows for the settings that save memory"
    )
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="keep the projects there, and use them again")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parse(parser, SMOKE)
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    context = new_context(IMPORTED if options.smoke else None)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        benchmark = Benchmark(folder, options, context)
        figures = {name: TABLES[name](benchmark) for name in options.tables}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
