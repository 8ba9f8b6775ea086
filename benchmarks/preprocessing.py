"""The stages `edges` and `captions` beside bare loops of the same work: ratios in one run.

    python benchmarks/preprocessing.py --dataset photos

Run it where the dataset is ingested. Rates are of the best of three rounds, without the start of
processes. The bare loop of edges reads a file, decodes it, makes it grey, resizes, blurs, takes
Canny with the thresholds that this project chose for that image, and encodes a PNG of one bit a
pixel; with regions it finds those of this project too. The bare loop of captions is `nlp.pipe` with
the same components at its best batch size. Row groups are repeated to fill --seconds.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ray.cluster_utils import Cluster

from structxlip.captions import load_language_model
from structxlip.config import Captions, Params, load_params
from structxlip.cues import edge_regions
from structxlip.cues.canny import thresholds
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.stages import captions, edges
from structxlip.stages.artifacts import DATA
from structxlip.stages.derived import Make, Unit, cut, make_unit_worker
from structxlip.stages.row_groups import RowGroup, on_ray, row_groups

ROUNDS, SAMPLED = 3, 2000
BATCHES = (8, 16, 32, 64, 128, 256, 512)


def bare_edges(path: str, low: float, high: float, size_px: int, sigma: float) -> Any:
    grey = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2GRAY)
    grey = cv2.resize(grey, (size_px, size_px), interpolation=cv2.INTER_AREA)
    found = cv2.Canny(cv2.GaussianBlur(grey, (0, 0), sigma), low, high)
    cv2.imencode(".png", found, [cv2.IMWRITE_PNG_BILEVEL, 1])
    return found


def rate(work: Callable[[], None], samples: int) -> float:
    """Samples a second, the best of the rounds."""
    seconds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return samples / min(seconds)


def on_workers(count: int, units: Sequence[Unit], make_worker: Callable[[], Make]) -> float:
    """Samples a second of so many workers on Ray, from the end of their first units on."""
    cluster = Cluster()
    cluster.add_node(num_cpus=count, include_dashboard=False)
    os.environ["RAY_ADDRESS"] = cluster.address
    rates = []
    for _ in range(ROUNDS):
        ends = [
            (time.perf_counter(), table.num_rows)
            for table in on_ray(units, partial(make_unit_worker, make_worker))
        ][count - 1 :]
        rates.append(sum(rows for _, rows in ends[1:]) / (ends[-1][0] - ends[0][0]))
    cluster.shutdown()
    return max(rates)


def repeated(counts: dict[RowGroup, int], unit: int, samples: float) -> list[Unit]:
    """Units of a stage, over and over until there are so many samples."""
    wanted = max(round(samples * len(counts) / sum(counts.values())), 4)
    return cut(((g, list(range(counts[g]))) for g in islice(cycle(counts), wanted)), unit)[1:]


def show(rows: list[tuple[str, float, float]]) -> None:
    for name, found, reference in rows:
        print(f"| {name} | {found:,.0f} | {found / reference:.2f} |", flush=True)


def measure_edges(params: Params, pairs: Path, seconds: float, folder: Path) -> None:
    settings = params.active.edges
    images = [
        data for g in row_groups(pairs) for data in g.read(pairs, ["image"])["image"].to_pylist()
    ]
    images = images[:: max(1, len(images) // SAMPLED)]
    paths, limits = [], []
    for i, data in enumerate(images):
        (folder / str(i)).write_bytes(data)
        paths.append(str(folder / str(i)))
        square = grey_square(
            decode_rgb(data), size_px=settings.size_px, blur_sigma=settings.blur_sigma
        )
        limits.append(thresholds(*cv2.spatialGradient(square)))
    sizes = np.array([decode_rgb(data).shape[:2] for data in images[:200]])

    def bare(regions: int = 0) -> None:
        for path, (low, high) in zip(paths, limits, strict=True):
            found = bare_edges(path, low, high, settings.size_px, settings.blur_sigma)
            if regions:
                edge_regions(found > 0, regions)

    cv2.setNumThreads(1)
    print(
        f"\n{len(images)} images of {'x'.join(map(str, np.median(sizes, axis=0).astype(int)))}"
        f" pixels (median), maps of {settings.size_px}\n"
    )
    print("| edges | images/s | ratio |\n|---|---|---|")
    loop = rate(bare, len(paths))
    show([("bare loop", loop, loop)])
    for regions in (0, 8):
        how = settings.model_copy(update={"max_regions": regions})
        reference = rate(partial(bare, regions), len(paths)) if regions else loop
        named = f", {regions} regions" if regions else ""
        if regions:
            show([(f"bare loop{named}", reference, reference)])
        units = repeated({g: g.pairs for g in row_groups(pairs)}, edges.UNIT, seconds * loop)
        make = partial(edges.make_worker, pairs, how)
        one, two = (on_workers(n, units * n, make) for n in (1, 2))
        show([(f"stage, 1 worker{named}", one, reference)])
        show([(f"stage, 2 workers{named} (ratio to one)", two, one)])


def measure_captions(settings: Captions, pairs: Path, seconds: float) -> None:
    groups = row_groups(pairs)
    texts = [
        text
        for group in groups
        for found in group.read(pairs, ["captions"])["captions"].to_pylist()
        for text in found
    ]
    texts = texts[:: max(1, len(texts) // SAMPLED)]
    words = sum(len(text.split()) for text in texts) / len(texts)
    model = load_language_model(settings.language_model)
    print(f"\n{len(texts)} captions of {words:.0f} words (mean), {', '.join(model.pipe_names)}\n")
    print("| captions | captions/s | ratio |\n|---|---|---|")

    def bare(batch: int) -> None:
        for _ in model.pipe(texts, batch_size=batch):
            pass

    found = {batch: rate(partial(bare, batch), len(texts)) for batch in BATCHES}
    best = max(found.values())
    show([(f"bare nlp.pipe, batches of {batch}", value, best) for batch, value in found.items()])
    counts = {g: captions.identify(g.read(pairs, ["id", "captions"])).num_rows for g in groups}
    units = repeated(counts, captions.UNIT, seconds * best)
    make = partial(captions.make_worker, pairs, settings)
    one, two = (on_workers(n, units * n, make) for n in (1, 2))
    show([("stage, 1 worker", one, best), ("stage, 2 workers (ratio to one)", two, one)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--seconds", type=float, default=10, help="of a round on a worker")
    options = parser.parse_args()
    params, pairs = load_params(Path("params.yaml")), (DATA / options.dataset / "pairs").resolve()
    with tempfile.TemporaryDirectory() as folder:
        measure_edges(params, pairs, options.seconds, Path(folder))
    measure_captions(params.captions(options.dataset), pairs, options.seconds)


if __name__ == "__main__":
    main()
