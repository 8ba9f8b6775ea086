"""Training against what it could be: the recipe `paper` written straight from its formulas, the
training of open_clip, loading alone, and the edge encoder alone.

    python benchmarks/training.py
    python benchmarks/training.py --tables paper --dataset fashion --path DIR

Works in a temporary folder with pair stores that the stages make. Contestants run in processes of
their own, on the same pairs, and take turns step by step. Rates and seconds of the processors are
of all steps, since batches differ in what there is to do; seconds by the clock are those of the
fastest and the slowest. `times` and `share` are ratios to the first row. Peak MiB is the resident
set of the whole process, growth what it has beyond imports, data and model.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from contestants import (
    LONG,
    agreement,
    edge_encoder,
    loading,
    open_clip_training,
    ours,
    straightforward_loading,
    straightforward_paper,
)
from duel import Measured, duel
from projects import export, prepare

VIT_B_16: dict[str, Any] = {
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
VIT_B_32 = VIT_B_16 | {"vision_cfg": VIT_B_16["vision_cfg"] | {"patch_size": 32}}
STRAIGHT, OPEN_CLIP = "straight from the formulas", "open_clip_train"
LARGE_CROPS = {"region_px": None}  # as large as the images


def show(found: dict[str, Measured], samples: int) -> dict[str, Any]:
    """Print the contestants, the first of them being the reference of the others."""
    print("| | s a step | samples/s | times | CPU s | times | peak MiB | growth MiB | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    reference, rows = next(iter(found.values())), {}
    for name, measured in found.items():
        row = {
            "samples_per_s": samples / measured.mean_s,
            "times": reference.mean_s / measured.mean_s,
            "cpu_times": reference.mean_cpu_s / measured.mean_cpu_s,
            "growth_share": measured.growth_mib / reference.growth_mib,
        }
        print(
            f"| {name} | {min(measured.seconds):.3g} to {max(measured.seconds):.3g} "
            f"| {row['samples_per_s']:.3g} | {row['times']:.2f} "
            f"| {measured.mean_cpu_s:.3g} | {row['cpu_times']:.2f} "
            f"| {measured.peak_mib:.0f} | {measured.growth_mib:.0f} | {row['growth_share']:.2f} |",
            flush=True,
        )
        rows[name] = asdict(measured) | row
    return rows


def paper(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "paper", options, "paper", VIT_B_16, max_tokens=LONG)
    file = export(project)
    same = duel({"losses": partial(agreement, project.but(train=LARGE_CROPS))}, steps=1, warm_up=0)[
        "losses"
    ].values[0]
    print("\n| | ours | difference, same features | same weights and inputs |\n|---|---|---|---|")
    for name in (name for name in same if "," not in name):
        differences = [f"{same[f'{name}, same {what}']:.1e}" for what in ("features", "weights")]
        print(f"| {name} | {same[name]:.6f} | {' | '.join(differences)} |", flush=True)
    print(f"\nReading batches of {options.batch} alone\n")
    reading = duel(
        {
            STRAIGHT: partial(straightforward_loading, project, file),
            "structxlip": partial(loading, project, "structxlip"),
        },
        steps=options.short_steps,
        foreign=STRAIGHT,
    )
    rows = {"losses": same, "reading": show(reading, options.batch)}
    print(f"\nRecipe `paper`, ViT-B/16, batches of {options.batch}, {options.precision}\n")
    variants = {
        "structxlip, crops as large": project.but(train=LARGE_CROPS),
        "structxlip": project,
    }
    if options.savings:
        micro = max(options.batch // 4, 1)
        variants |= {
            f"structxlip, micro-batches of {micro}": project.but(
                machine={"micro_batch_size": micro}
            ),
            "structxlip, gradient checkpointing": project.but(
                machine={"gradient_checkpointing": True}
            ),
        }
    for name, variant in variants.items():  # one after the other: each pair fills the memory
        found = duel(
            {
                STRAIGHT: partial(straightforward_paper, project, file),
                name: partial(ours, variant, "structxlip"),
            },
            steps=options.steps,
            foreign=STRAIGHT,
        )
        rows[name] = show(found, options.batch)
    return rows


def vanilla(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "vanilla", options, "paper", VIT_B_32, max_tokens=None)
    print(f"\nPlain CLIP, ViT-B/32, batches of {options.batch}, {options.precision}\n")
    found = duel(
        {
            OPEN_CLIP: partial(open_clip_training, project, full=True),
            "structxlip, texts of 77 tokens": partial(ours, project, "vanilla", full=True),
            "structxlip, texts as they are": partial(ours, project, "vanilla"),
        },
        steps=options.short_steps,
        foreign=OPEN_CLIP,
    )
    return show(found, options.batch)


def loader(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "seed", options, "seed")
    batch = project.params.active.train.batch_size
    rows = {}
    for arm in ("vanilla", "structxlip"):
        print(f"\nBatches of {batch} from cached features, {arm}\n")
        found = duel(
            {
                "training": partial(ours, project, arm, loads=False),
                "loading": partial(loading, project, arm),
            },
            steps=options.short_steps,
        )
        rows[arm] = show(found, batch)
        ratio = found["training"].mean_s / found["loading"].mean_s
        print(f"\nLoading is {ratio:.0f} times as fast as training.")
    return rows


def cached(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "seed", options, "seed")
    batch = project.params.active.train.batch_size
    print(f"\nBatches of {batch} from cached features\n")
    found = duel(
        {
            "edge encoder, forward and backward": partial(edge_encoder, project),
            "structxlip": partial(ours, project, "structxlip", loads=False),
            "structxlip with loading": partial(ours, project, "structxlip"),
            "vanilla": partial(ours, project, "vanilla", loads=False),
        },
        steps=options.short_steps,
    )
    rows = show(found, batch)
    step, alone = found["structxlip"], found["edge encoder, forward and backward"]
    print(f"\nA step takes {step.mean_s / alone.mean_s:.2f} times as long as its edge encoder.")
    return rows


TABLES = {"paper": paper, "vanilla": vanilla, "loader": loader, "cached": cached}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--dataset", default="scenes", help="an entry or a preset of params.yaml")
    parser.add_argument("--path", type=Path, help="what the dataset is read from")
    parser.add_argument("--pairs", type=int, default=1024, help="training pairs that are kept")
    parser.add_argument("--batch", type=int, default=8, help="of the CLIPs that are trained")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--steps", type=int, default=2, help="of the recipe `paper`")
    parser.add_argument(
        "--savings", action="store_true", help="`paper` also with what `machine:` saves memory by"
    )
    parser.add_argument("--short-steps", type=int, default=12, help="of all others")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="keep the artifacts there, and use what is")
    parser.add_argument("--json", type=Path, help="also write what was found")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        found = {name: TABLES[name](folder, options) for name in options.tables}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
