"""Peak memory of the stages on 10,000 and 100,000 samples.

    python benchmarks/scale.py

Works in a temporary folder on noisy pictures of 192 x 192 pixels and captions of a dozen words,
written as a CSV table with its images. All work of edges and captions goes through Ray, as on much
larger data. Memory is the proportional set size of the stage and of all of its processes.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import yaml

SIDE = 192
ROOT = Path(__file__).parents[1]
STAGE = """
from structxlip import cli
from structxlip.stages import row_groups
row_groups.TRIAL_S = row_groups.RAY_START_S = -1  # nothing is done in this process
cli.main()
"""
THINGS = ("dog", "cat", "lamp", "box", "boat", "tree", "chair", "bird", "cup", "house")


def write_data(folder: Path, first: int, last: int) -> None:
    """Pictures and rows of the table with these numbers."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    with (folder / "table.csv").open("a", newline="") as file:
        table = csv.writer(file)
        if not first:
            table.writerow(["image", "text"])
        for i in range(first, last):
            rng = np.random.default_rng(i)
            coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
            picture = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(
                str(folder / f"images/{i}.jpg"),
                cv2.add(picture, rng.integers(0, 8, picture.shape, np.uint8)),
            )
            one, two, three = rng.choice(THINGS, 3)
            text = f"a red {one} stands left of a small {two} and {i} blue {three}s lie under it"
            table.writerow([f"{i}.jpg", text])


def write_params(project: Path, data: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["datasets"] = {
        "scaled": {
            "kind": "table",
            "path": str(data),
            "table": "table.csv",
            "images": "images",
            "captions": ["text"],
        }
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def run(stage: str, project: Path) -> tuple[float, float]:
    """The seconds and the peak MiB of a stage."""
    command = [sys.executable, "-c", STAGE, stage, "--dataset", "scaled"]
    started = time.monotonic()
    process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    top, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        peak = max(peak, sum(map(memory, [top, *children(top)])) / 2**20)
        time.sleep(0.2)
    seconds = time.monotonic() - started
    assert process.returncode == 0, process.stderr.read() if process.stderr else ""
    return seconds, peak


def children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs=2, default=(10_000, 100_000))
    options = parser.parse_args()
    peaks: dict[str, list[float]] = {"ingest": [], "edges": [], "captions": []}
    print("| stage | samples | seconds | peak MiB |\n|---|---|---|---|", flush=True)
    for samples in options.samples:
        with tempfile.TemporaryDirectory() as folder:
            project, data = Path(folder), Path(folder) / "source"
            write_data(data, 0, samples)
            write_params(project, data)
            for stage, found in peaks.items():
                seconds, peak = run(stage, project)
                found.append(peak)
                print(f"| {stage} | {samples:,} | {seconds:.0f} | {peak:.0f} |", flush=True)
    ratios = [f"{stage} {many / few:.2f}" for stage, (few, many) in peaks.items()]
    print(f"\nPeak of the more over that of the fewer: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
