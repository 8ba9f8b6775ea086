"""Search of an index beside the bare computation of the same.

    python benchmarks/search.py
    python benchmarks/search.py --images 1000000

The embeddings are synthetic: 256 numbers around centres, as those of pictures of many kinds. The
sides of a pair take turns, the one first and then the other, each with a query that the other has
not just asked, whose rows would still be in the cache of the processor. The median counts.

Columns:
    search       exact: every image is compared. graph: usearch finds nearly all of the best.
    images       in the index
    ms           of one query for 10 answers, by ``ImageIndex.search``
    of bare      times the bare side: one NumPy product and top-k, or ``usearch`` alone
    recall@10    of the exact answers
    speed        times as fast as the exact search
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from script import new_parser, parse, print_header, print_row
from structxlip.serving.image_index import ImageIndex
from structxlip.serving.index_files import graph_file, write_index
from structxlip.serving.scoring import Query

DIM, K = 256, 10
PAIRS = (("exact", "numpy"), ("graph", "usearch"))


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=100, help="queries")
    arguments = parse(parser, smoke={"images": 2000, "rounds": 5})
    rng = np.random.default_rng(0)
    rows = embeddings(rng, arguments.images)
    queries = [Query.of_one(row) for row in embeddings(rng, arguments.rounds)]
    print_header("search", "images", "ms", "of bare", "recall@10", "speed")
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), rows, queries)


def embeddings(rng: np.random.Generator, count: int) -> NDArray[np.float32]:
    """Unit rows ``[count, DIM]`` around 200 centres that are the same for every call."""
    centres = np.random.default_rng(1).normal(size=(200, DIM)).astype(np.float32)
    rows = centres[rng.integers(len(centres), size=count)]
    rows += rng.normal(size=rows.shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def compare(folder: Path, rows: NDArray[np.float32], queries: list[Query]) -> None:
    from usearch.index import Index

    names = [str(row) for row in range(len(rows))]
    columns = {"id": names, "split": ["test"] * len(rows), "captions": [[name] for name in names]}
    table = pa.table(columns | {"thumbnail": [b""] * len(rows)})
    settings = {"model": "none", "digest": "", "alpha": 0.0, "exact_below": len(rows) - 1}
    write_index(folder, settings=settings, table=table, arrays={"content": rows.astype(np.float16)})
    graph, exact = ImageIndex(folder), ImageIndex(folder)
    exact.settings["exact_below"] = len(rows)
    bare: Any = Index.restore(str(graph_file(folder, "content")), view=True)

    def numpy_alone(query: Query) -> Any:
        scores = rows @ query.content
        best = np.argpartition(scores, -K)[-K:]
        return best[np.argsort(-scores[best])]

    sides: dict[str, Callable[[Query], Any]] = {
        "exact": lambda query: exact.search(query, by="content", k=K),
        "numpy": numpy_alone,
        "graph": lambda query: graph.search(query, by="content", k=K),
        "usearch": lambda query: bare.search(query.content, K),
    }
    ms: dict[str, float] = {}
    for pair in PAIRS:
        ms |= median_ms({name: sides[name] for name in pair}, queries)
    shared = sum(
        len({hit.id for hit in sides["exact"](query)} & {hit.id for hit in sides["graph"](query)})
        for query in queries
    )
    recall = shared / (K * len(queries))
    for name, alone in PAIRS:
        print_row(
            name,
            f"{len(rows):,}",
            f"{ms[name]:.2f}",
            f"{ms[name] / ms[alone]:.2f}",
            f"{1 if name == 'exact' else recall:.3f}",
            f"{ms['exact'] / ms[name]:.1f}",
        )


def median_ms(
    sides: dict[str, Callable[[Query], Any]], queries: Sequence[Query]
) -> dict[str, float]:
    """The median milliseconds of a query for each of two sides that take turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side(queries[0])  # what is loaded at the first query
    for turn in range(len(queries)):
        for place, name in enumerate(list(sides)[:: 1 if turn % 2 else -1]):
            start = time.perf_counter()
            sides[name](queries[(turn + place * len(queries) // 2) % len(queries)])
            times[name].append(time.perf_counter() - start)
    return {name: 1000 * float(np.median(taken)) for name, taken in times.items()}


if __name__ == "__main__":
    main()
