"""The speed of the stages `edges` and `captions`, beside bare loops that do the same work.

Run it where the dataset is ingested:

    python benchmarks/preprocessing.py --dataset photos

The bare loop of edges reads a file, decodes it in colour, makes it grey, resizes it, blurs it,
takes Canny with the thresholds that the stage chose for that image, and encodes a PNG of one bit a
pixel. With regions it also finds the regions of the stage. The bare loop of captions is spaCy's
`nlp.pipe` with the same components; the fastest batch size is the reference. The stage works on
Ray, from row groups that repeat until a worker has work for --seconds. Each rate is the best of
three rounds and leaves out the start of processes.

Columns of both tables:
    edges, captions       the bare loop, or the stage with a number of workers
    images/s, captions/s  the rate
    ratio                 to the bare loop; for more workers, to the stage with fewest workers
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from math import ceil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ray.cluster_utils import Cluster

from random_data import project_folder, write_pairs
from script import new_parser, parse, print_header, print_row
from structxlip.captions import load_language_model
from structxlip.config import Captions, Edges, load_params
from structxlip.cues import edge_regions
from structxlip.cues.detectors.canny import thresholds
from structxlip.cues.prepare import grey_square
from structxlip.data.images import decode_rgb
from structxlip.data.shards import ROW_GROUP_PAIRS
from structxlip.incremental.derived import MakeRows, WorkUnit, cut_units, make_unit_worker, name_of
from structxlip.incremental.ray_map import map_on_ray
from structxlip.incremental.row_groups import RowGroup, row_groups
from structxlip.stages import captions, edges

SAMPLED = 2000  # images and captions that the bare loops read
REGIONS = 8
WORKERS = {0: "in this process", 1: "1 worker"}
SMOKE = {"seconds": 0.0, "rounds": 1, "batches": [8], "workers": [0]}


@dataclass(frozen=True)
class StageWork:
    """The work of a stage on Ray, and the bare loop that it is compared with.

    Attributes:
        label: of its rows.
        reference: samples a second of the bare loop.
        units: the work of one worker.
        make_worker: makes a worker of the stage.
    """

    label: str
    reference: float
    units: list[WorkUnit]
    make_worker: Callable[[], MakeRows]


def rate(work: Callable[[], object], samples: int, rounds: int) -> float:
    """Samples a second of a function that works on so many samples: the best of the rounds."""
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return samples / min(seconds)


@contextmanager
def ray_cluster(cpus: int) -> Iterator[None]:
    """A local Ray cluster with so many processors, which `map_on_ray` joins."""
    cluster = Cluster()
    cluster.add_node(num_cpus=cpus, include_dashboard=False)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def stage_rate(work: StageWork, workers: int, rounds: int) -> float:
    """Samples a second of a stage with so many workers of Ray; with 0, in this process.

    The clock starts when each worker has done its first unit.
    """
    make_worker, rates = partial(make_unit_worker, work.make_worker), []
    for _ in range(rounds):
        if workers:
            tables = map_on_ray(work.units * workers, make_worker, name_of)
        else:
            tables = map(make_worker(), work.units)
        ends = [(time.perf_counter(), table.num_rows) for table in tables][max(workers, 1) - 1 :]
        rates.append(sum(rows for _, rows in ends[1:]) / (ends[-1][0] - ends[0][0]))
    return max(rates)


def repeated_units(counts: Mapping[RowGroup, int], unit: int, samples: float) -> list[WorkUnit]:
    """Units of work, from row groups that repeat until there are ``samples``.

    There are at least two units, since the first of each worker is not counted.

    Args:
        counts: the samples of each row group.
        unit: about as many samples are in a unit of the stage; fewer where the data are fewer.
        samples: of all units.
    """
    total = sum(counts.values())
    size, per_group = min(unit, total), total / len(counts)
    groups = islice(cycle(counts), 1 + max(round(samples / per_group), 2 * ceil(size / per_group)))
    return cut_units(((group, list(range(counts[group]))) for group in groups), size)[1:]


def bare_edges(path: str, low: float, high: float, settings: Edges) -> Any:
    """The edge map of an image file with given thresholds, by calls of OpenCV alone."""
    image = cv2.imread(path)
    assert image is not None
    size = settings.size_px, settings.size_px
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    found = cv2.Canny(cv2.GaussianBlur(grey, (0, 0), settings.blur_sigma), low, high)
    cv2.imencode(".png", found, [cv2.IMWRITE_PNG_BILEVEL, 1])
    return found


def measure_bare_edges(
    settings: Edges, pairs: Path, folder: Path, *, seconds: float, rounds: int
) -> list[StageWork]:
    """Measure the bare loop without and with regions, on image files in ``folder``."""
    groups = row_groups(pairs)
    images = [image for g in groups for image in g.read(pairs, ["image"])["image"].to_pylist()]
    images = images[:: max(1, len(images) // SAMPLED)]
    paths, limits = [], []
    for i, data in enumerate(images):
        path = folder / str(i)
        path.write_bytes(data)
        paths.append(str(path))
        square = grey_square(
            decode_rgb(data), size_px=settings.size_px, blur_sigma=settings.blur_sigma
        )
        limits.append(thresholds(*cv2.spatialGradient(square)))
    sizes = np.median([decode_rgb(data).shape[:2] for data in images[:200]], axis=0).astype(int)
    print(
        f"{len(images)} images of {'x'.join(map(str, sizes))} pixels (median), "
        f"maps of {settings.size_px}"
    )
    cv2.setNumThreads(1)

    def bare_loop(regions: int) -> None:
        for path, (low, high) in zip(paths, limits, strict=True):
            found = bare_edges(path, low, high, settings)
            if regions:
                edge_regions(found > 0, regions)

    work = []
    for regions in (0, REGIONS):
        per_second = rate(partial(bare_loop, regions), len(paths), rounds)
        counts = {group: group.pairs for group in groups}
        work.append(
            StageWork(
                f", {regions} regions" if regions else "",
                per_second,
                repeated_units(counts, edges.UNIT, seconds * per_second),
                partial(
                    edges.make_worker, pairs, settings.model_copy(update={"max_regions": regions})
                ),
            )
        )
    return work


def measure_bare_captions(
    settings: Captions, pairs: Path, batches: list[int], *, seconds: float, rounds: int
) -> tuple[dict[int, float], StageWork]:
    """Measure `nlp.pipe`; returns the rate of each batch size, and the work of the stage."""
    groups = row_groups(pairs)
    texts = [
        text
        for group in groups
        for of_pair in group.read(pairs, ["captions"])["captions"].to_pylist()
        for text in of_pair
    ]
    texts = texts[:: max(1, len(texts) // SAMPLED)]
    model = load_language_model(settings.language_model)
    words = sum(len(text.split()) for text in texts) / len(texts)
    print(f"{len(texts)} captions of {words:.0f} words (mean), {', '.join(model.pipe_names)}")

    def bare_loop(batch: int) -> None:
        for _ in model.pipe(texts, batch_size=batch):
            pass

    rates = {batch: rate(partial(bare_loop, batch), len(texts), rounds) for batch in batches}
    best = max(rates.values())
    counts = {g: captions.identify(g.read(pairs, ["id", "captions"])).num_rows for g in groups}
    units = repeated_units(counts, captions.UNIT, seconds * best)
    return rates, StageWork("", best, units, partial(captions.make_worker, pairs, settings))


def print_stage(work: StageWork, rates: dict[int, float]) -> None:
    """Print the rows of a stage, one for each number of workers."""
    fewest = min(rates)
    for workers, per_second in rates.items():
        name = f"stage, {WORKERS.get(workers, f'{workers} workers')}{work.label}"
        if workers == fewest:
            print_rate(name, per_second, work.reference)
        else:
            print_rate(f"{name} (ratio to {fewest})", per_second, rates[fewest])


def print_rate(name: str, per_second: float, reference: float) -> None:
    """Print a row: a rate, and its ratio to another one."""
    print_row(name, f"{per_second:,.0f}", f"{per_second / reference:.2f}")


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round on a worker")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--workers", type=int, nargs="+", default=[1, 2], help="of Ray; 0 works in this process"
    )
    parser.add_argument(
        "--batches", type=int, nargs="+", default=[8, 16, 32, 64, 128, 256, 512], help="of captions"
    )
    options = parse(parser, SMOKE)
    timing = {"seconds": options.seconds, "rounds": options.rounds}
    with project_folder(options.smoke) as project, tempfile.TemporaryDirectory() as folder:
        params = load_params(project / "params.yaml")
        pairs = (project / "data" / options.dataset / "pairs").resolve()
        if options.smoke:
            write_pairs(pairs, ROW_GROUP_PAIRS, 192, 192)
        of_edges = measure_bare_edges(params.recipe_settings.edges, pairs, Path(folder), **timing)
        pipe_rates, of_captions = measure_bare_captions(
            params.caption_settings(options.dataset), pairs, options.batches, **timing
        )
        work = [*of_edges, of_captions]
        rates: list[dict[int, float]] = [{} for _ in work]
        for workers in sorted(options.workers):
            with ray_cluster(workers) if workers else nullcontext():
                for of_stage, found in zip(work, rates, strict=True):
                    found[workers] = stage_rate(of_stage, workers, options.rounds)
    print()
    print_header("edges", "images/s", "ratio")
    for of_stage, found in zip(of_edges, rates[:-1], strict=True):
        print_rate(f"bare loop{of_stage.label}", of_stage.reference, of_stage.reference)
        print_stage(of_stage, found)
    print()
    print_header("captions", "captions/s", "ratio")
    for batch, per_second in pipe_rates.items():
        print_rate(f"bare nlp.pipe, batches of {batch}", per_second, of_captions.reference)
    print_stage(of_captions, rates[-1])


if __name__ == "__main__":
    main()
