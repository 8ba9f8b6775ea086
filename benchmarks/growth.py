"""What the stages `edges` and `captions` cost again when a dataset has grown by 1 %.

    python benchmarks/growth.py

Works in a temporary folder on pair stores of 100,000 samples that it writes itself: thumbnails with
short captions, and photographs with long ones. The new pairs come last. Times are of the command,
from its start to its end.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structxlip.data.pairs import ROW_GROUP_PAIRS, pair_schema

ROOT = Path(__file__).parents[1]
KINDS = {"thumbnails, 17 words": (192, 192, 1), "photographs, 68 words": (375, 500, 4)}
DISTINCT, SHARD_GROUPS, MORE = 256, 100, 0.01
THINGS = ("dog", "cat", "lamp", "box", "boat", "tree", "chair", "bird", "cup", "house")


def picture(seed: int, height: int, width: int) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = cv2.add(smooth, rng.integers(0, 8, smooth.shape, np.uint8))
    return cv2.imencode(".jpg", noisy)[1].tobytes()


@cache
def all_pictures(height: int, width: int) -> list[bytes]:
    return [picture(seed, height, width) for seed in range(DISTINCT)]


def rows(first: int, last: int, kind: str) -> Iterator[dict[str, Any]]:
    height, width, sentences = KINDS[kind]
    pictures = all_pictures(height, width)
    rng = np.random.default_rng(first)
    for i in range(first, last):
        said = (
            f"a red {one} stands left of a small {two} and {i} blue {three}s lie under it."
            for one, two, three in rng.choice(THINGS, (sentences, 3))
        )
        yield {
            "id": f"{i:07d}",
            "split": "train",
            "group": str(i),
            "image": pictures[i % DISTINCT],
            "width": width,
            "height": height,
            "captions": [" ".join(said)],
            "source": "growth",
            "sha256": str(i),
            "boxes": [],
            "edges": None,
        }


def write_store(folder: Path, samples: int, kind: str) -> None:
    """Write a pair store as `ingest` cuts it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shard = ROW_GROUP_PAIRS * SHARD_GROUPS
    for number, start in enumerate(range(0, samples, shard)):
        path = folder / f"part-{number:05d}.parquet"
        with pq.ParquetWriter(path, pair_schema(), compression="zstd") as writer:
            stop = min(start + shard, samples)
            for first in range(start, stop, ROW_GROUP_PAIRS):
                group = list(rows(first, min(first + ROW_GROUP_PAIRS, stop), kind))
                writer.write_table(pa.Table.from_pylist(group, schema=pair_schema()))


def seconds(stage: str, project: Path) -> float:
    command = [Path(sys.executable).with_name("structxlip"), stage, "--dataset", "scenes"]
    started = time.monotonic()
    subprocess.run(command, cwd=project, check=True, capture_output=True)
    return time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=100_000)
    samples = parser.parse_args().samples
    print("| stage | samples | first run, s | with 1 % more, s | share |\n|---|---|---|---|---|")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder)
            shutil.copy(ROOT / "params.yaml", project)
            store = project / "data/scenes/pairs"
            write_store(store, samples, kind)
            first = {stage: seconds(stage, project) for stage in ("edges", "captions")}
            write_store(store, round(samples * (1 + MORE)), kind)
            for stage, whole in first.items():
                again = seconds(stage, project)
                cells = [f"{stage}, {kind}", f"{samples:,}", f"{whole:.1f}", f"{again:.1f}"]
                print(f"| {' | '.join(cells)} | {again / whole:.3f} |", flush=True)


if __name__ == "__main__":
    main()
