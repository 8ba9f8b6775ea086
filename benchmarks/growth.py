"""The cost of the stages `edges` and `captions` when a dataset has grown by 1 %.

    python benchmarks/growth.py

The script writes pair stores of 100,000 samples into a temporary folder: thumbnails with short
captions, and photographs with long ones. It runs each stage, lets the store grow by 1 % at its end,
and runs each stage again. Only the new samples should cost time.

Columns:
    stage             the stage, and the kind of data
    samples           samples of the first run
    first run, s      seconds of the command, from its start to its end
    with 1 % more, s  seconds of the command on the larger store
    share             the second time divided by the first
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from random_data import DATASET, ROOT, write_pairs
from script import new_parser, parse, print_header, print_row

STAGES = ("edges", "captions")
GROWTH = 0.01
SMOKE = {"samples": 100, "kinds": ["thumbnails"], "stages": ["edges"]}


class Kind(NamedTuple):
    """A kind of data: the size of its images in pixels, and the sentences of a caption."""

    height: int
    width: int
    sentences: int
    label: str


KINDS = {
    "thumbnails": Kind(192, 192, 1, "thumbnails, 17 words"),
    "photographs": Kind(375, 500, 4, "photographs, 68 words"),
}


def write_store(project: Path, kind: Kind, samples: int) -> None:
    """Write the pair store of a project."""
    pairs = project / "data" / DATASET / "pairs"
    write_pairs(pairs, samples, kind.height, kind.width, kind.sentences)


def stage_seconds(stage: str, project: Path) -> float:
    """Run a stage; return the seconds that its command takes."""
    command = [sys.executable, "-m", "structxlip.cli", stage, "--dataset", DATASET]
    started = time.monotonic()
    subprocess.run(command, cwd=project, check=True, stderr=subprocess.DEVNULL)
    return time.monotonic() - started


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    options = parse(parser, SMOKE)
    samples = options.samples
    print_header("stage", "samples", "first run, s", "with 1 % more, s", "share")
    for kind in (KINDS[name] for name in options.kinds):
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copy(ROOT / "params.yaml", project)
            write_store(project, kind, samples)
            first = {stage: stage_seconds(stage, project) for stage in options.stages}
            write_store(project, kind, round(samples * (1 + GROWTH)))
            for stage, first_s in first.items():
                again_s = stage_seconds(stage, project)
                cells = f"{samples:,}", f"{first_s:.1f}", f"{again_s:.1f}"
                print_row(f"{stage}, {kind.label}", *cells, f"{again_s / first_s:.3f}")


if __name__ == "__main__":
    main()
