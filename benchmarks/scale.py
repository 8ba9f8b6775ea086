"""Peak memory of the stages `ingest`, `edges` and `captions` on small and on large data.

    python benchmarks/scale.py

The script writes noisy pictures of 192 x 192 pixels and captions of 17 words, as a CSV table with
its images, into a temporary folder. The stages `edges` and `captions` do all their work on Ray, as
they do on much larger data. Memory should hardly depend on the number of samples: the last line
gives, for each stage, the peak on the most samples divided by the peak on the fewest.

Columns:
    stage     the stage
    samples   samples of the dataset
    seconds   from the start of the stage to its end
    peak MiB  most memory of the stage and all of its processes, Ray's included, at one time (the
              proportional set size)
"""

from __future__ import annotations

import csv
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import yaml

from random_data import ROOT, picture, sentence
from script import new_parser, parse, print_header, print_row

SIDE_PX = 192
DATASET = "scaled"
STAGES = ("ingest", "edges", "captions")
SMOKE = {"samples": [64], "stages": ["ingest", "edges"], "poll_s": 1.0}


def write_data(folder: Path, samples: int) -> None:
    """Write the images and the table of a dataset."""
    (folder / "images").mkdir(parents=True)
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "text"])
        for i in range(samples):
            (folder / f"images/{i}.jpg").write_bytes(picture(i, SIDE_PX, SIDE_PX))
            table.writerow([f"{i}.jpg", sentence(np.random.default_rng(i), i)])


def write_params(project: Path, data: Path) -> None:
    """Write the parameters of a project that reads the dataset in ``data``."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["datasets"] = {
        DATASET: {
            "kind": "table",
            "path": str(data),
            "table": "table.csv",
            "images": "images",
            "captions": ["text"],
        }
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def run_stage(stage: str, project: Path) -> None:
    """Run a stage in this process, with all of its rows made on Ray."""
    from structxlip import cli
    from structxlip.incremental import ray_map

    ray_map.TRIAL_S = ray_map.RAY_START_S = -1.0  # nothing is done in this process
    os.chdir(project)
    sys.argv = ["structxlip", stage, "--dataset", DATASET]
    cli.main()


def measure(stage: str, project: Path, poll_s: float) -> tuple[float, float]:
    """Run a stage in a process of its own; return its seconds and its peak MiB."""
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=run_stage, args=(stage, project))
    started, peak_mib = time.monotonic(), 0.0
    process.start()
    assert process.pid is not None
    top = psutil.Process(process.pid)
    while process.is_alive():
        peak_mib = max(peak_mib, sum(map(memory_mib, [top, *children(top)])))
        process.join(poll_s)
    if process.exitcode:
        sys.exit(f"the stage {stage} failed")
    return time.monotonic() - started, peak_mib


def children(process: psutil.Process) -> list[psutil.Process]:
    """The processes below a process; none when it has ended."""
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def memory_mib(process: psutil.Process) -> float:
    """The proportional set size of a process; 0 when it has ended."""
    try:
        return float(process.memory_full_info().pss) / 2**20
    except psutil.Error:
        return 0.0


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--poll-s", type=float, default=0.2, help="between two looks at memory")
    options = parse(parser, SMOKE)
    peaks: dict[str, dict[int, float]] = {stage: {} for stage in options.stages}
    print_header("stage", "samples", "seconds", "peak MiB")
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as folder:
            project, data = Path(folder), Path(folder) / "source"
            write_data(data, samples)
            write_params(project, data)
            for stage, of_stage in peaks.items():
                seconds, of_stage[samples] = measure(stage, project, options.poll_s)
                print_row(stage, f"{samples:,}", f"{seconds:.0f}", f"{of_stage[samples]:.0f}")
    fewest, most = min(options.samples), max(options.samples)
    ratios = [f"{stage} {peak[most] / peak[fewest]:.2f}" for stage, peak in peaks.items()]
    print(f"\nPeak on {most:,} samples over that on {fewest:,}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
