"""Time and memory of the retrieval metrics, beside a full sort of every row of scores.

    python benchmarks/retrieval.py

Random unit embeddings, five captions an image. The reference computes the same scores in the same
blocks, sorts every row by argsort and looks up the first right answer. Each form runs in a fresh
process, and both must find the same recalls.

Columns:
    form      what is measured
    seconds   both ways, of one run
    peak MiB  the largest resident memory of the process, with its imports and the embeddings
    times     seconds of the full sort divided by the seconds
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from script import new_parser, parse, print_header, print_row
from structxlip.evaluation.retrieval import BLOCK_SCORES, WAYS, retrieval_metrics

SMOKE = {"images": 40, "dim": 8}
KS = (1, 5, 10)
CAPTIONS = 5
Recalls = dict[str, float]


def unit(rng: np.random.Generator, rows: int, dim: int) -> NDArray[np.float32]:
    values = rng.standard_normal((rows, dim), np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values


def full_sort(
    images: NDArray[np.float32], texts: NDArray[np.float32], owner: NDArray[np.int64]
) -> Recalls:
    """Recall by sorting every row of scores."""
    found: Recalls = {}
    own = np.arange(len(images))
    for way, queries, query_owner, gallery, gallery_owner in (
        (WAYS[0], images, own, texts, owner),
        (WAYS[1], texts, owner, images, own),
    ):
        ranks = np.empty(len(queries), np.int64)
        block = max(1, BLOCK_SCORES // len(gallery))
        for start in range(0, len(queries), block):
            order = np.argsort(-(queries[start : start + block] @ gallery.T), axis=1)
            right = gallery_owner[order] == query_owner[start : start + block, None]
            ranks[start : start + block] = right.argmax(axis=1)
        found |= {f"{way}/R@{k}": 100 * float((ranks < k).mean()) for k in KS}
    return found


FORMS: dict[str, Callable[..., Recalls]] = {
    "retrieval_metrics": retrieval_metrics,
    "full sort": full_sort,
}


def measure(form: str, images: int, dim: int) -> tuple[float, float, Recalls]:
    """Seconds, peak MiB, and the recalls."""
    rng = np.random.default_rng(0)
    embeddings = unit(rng, images, dim), unit(rng, images * CAPTIONS, dim)
    owner = np.repeat(np.arange(images), CAPTIONS)
    start = time.perf_counter()
    found = FORMS[form](*embeddings, owner)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds, peak, {key: value for key, value in found.items() if "/R@" in key}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--images", type=int, default=25_000)
    parser.add_argument("--dim", type=int, default=512)
    options = parse(parser, SMOKE)
    results = {}
    for form in FORMS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[form] = pool.apply(measure, (form, options.images, options.dim))
    assert results["retrieval_metrics"][2] == results["full sort"][2], "the recalls differ"
    print_header("form", "seconds", "peak MiB", "times")
    for form, (seconds, peak, _) in results.items():
        times = results["full sort"][0] / seconds
        print_row(form, f"{seconds:.1f}", f"{peak:,.0f}", f"{times:.1f}")


if __name__ == "__main__":
    main()
