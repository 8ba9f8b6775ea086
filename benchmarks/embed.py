"""Embedding a folder of images beside a bare loop, and what the edges cost.

    python benchmarks/embed.py

The pictures are random JPEGs, the model has random heads on the packaged towers. The bare loop
reads, decodes and resizes with the same threads, runs the towers in the same batches, and writes
nothing. Both sides take turns, and the median of the rounds counts.

Columns:
    what           `folder` is what ``structxlip embed`` does; `one image` comes alone, on one core
    edges          whether the edge map is made and added
    ms             of an image
    of bare        the rate, divided by that of the bare loop
    ms more        of an image with its edges than of one without
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import torch

from random_data import picture, write_model
from script import new_parser, parse, print_header, print_row
from structxlip.cues import usable_or_blank
from structxlip.data.images import decode_rgb
from structxlip.serving.bulk import BATCH, BatchEmbedder, find_inputs
from structxlip.serving.embedder import Embedder

ALPHA = 0.5


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parse(parser, smoke={"images": 8, "rounds": 1})
    print_header("what", "edges", "ms", "of bare", "ms more")
    with tempfile.TemporaryDirectory() as name:
        folder, model = Path(name, "pictures"), Path(name, "model")
        folder.mkdir()
        write_model(model)
        for place in range(options.images):
            (folder / f"{place}.jpg").write_bytes(picture(place, 375, 500))
        compare(Embedder(model, ALPHA), folder, options.rounds)


def compare(embedder: Embedder, folder: Path, rounds: int) -> None:
    inputs = find_inputs([folder])
    paths = inputs.items

    def ours(alpha: float) -> None:
        for _ in BatchEmbedder(embedder, alpha, "image").embed_all(inputs.batches()):
            pass

    sides: dict[tuple[str, float], Callable[[], Any]] = {}
    for alpha in (0.0, ALPHA):
        sides["folder", alpha] = partial(ours, alpha)
        sides["bare", alpha] = partial(bare_loop, embedder, paths, alpha)
    ms = medians(sides, rounds, len(paths))
    for alpha in (0.0, ALPHA):
        print_row(
            "folder",
            "yes" if alpha else "no",
            f"{ms['folder', alpha]:.1f}",
            f"{ms['bare', alpha] / ms['folder', alpha]:.2f}",
            f"{ms['folder', alpha] - ms['folder', 0.0]:.1f}" if alpha else "",
        )
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    def one_by_one(alpha: float) -> None:
        for path in paths[:16]:
            embedder.embed_images([path], alpha=alpha)

    alone: dict[tuple[str, float], Callable[[], Any]] = {
        ("one image", alpha): partial(one_by_one, alpha) for alpha in (0.0, ALPHA)
    }
    ms = medians(alone, rounds, len(paths[:16]))
    more = ms["one image", ALPHA] - ms["one image", 0.0]
    print_row("one image", "no", f"{ms['one image', 0.0]:.1f}", "", "")
    print_row("one image", "yes", f"{ms['one image', ALPHA]:.1f}", "", f"{more:.1f}")


def bare_loop(embedder: Embedder, paths: list[str], alpha: float) -> None:
    """Read, decode, resize and find edges in threads; run the towers."""
    side = embedder.image_encoder.image_px

    def read(path: str) -> tuple[Any, Any]:
        pixels = decode_rgb(Path(path).read_bytes())
        edges = usable_or_blank(embedder.cue(pixels), embedder.edges) if alpha else None
        return cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA), edges

    with ThreadPoolExecutor() as pool:
        found = pool.map(read, paths)
        for start in range(0, len(paths), BATCH):
            batch = [next(found) for _ in paths[start : start + BATCH]]
            pixels = torch.from_numpy(embedder.image_encoder.encode([image for image, _ in batch]))
            maps = [edges for _, edges in batch]
            read_maps = torch.from_numpy(embedder.read_maps(maps)) if alpha else None
            embedder.model.embed_images(pixels, read_maps, alpha)


def medians(sides: dict[tuple[str, float], Callable[[], Any]], rounds: int, images: int) -> Any:
    """The milliseconds of an image of each side; the sides take turns."""
    times: dict[tuple[str, float], list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, work in sides.items():
            started = time.perf_counter()
            work()
            times[side].append(time.perf_counter() - started)
    return {side: 1000 * median(taken) / images for side, taken in times.items()}


if __name__ == "__main__":
    main()
