"""Search of an index beside the bare computation of the same.

    python benchmarks/search.py
    python benchmarks/search.py --images 1000000

The embeddings are synthetic: 256 numbers around centres, as those of pictures of many kinds. Both
sides take turns, and the median of the rounds counts.

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from script import new_parser, parse, print_header, print_row
from structxlip.serving.image_index import ImageIndex, graph_file, write_index
from structxlip.serving.scoring import Query

DIM, K = 256, 10


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
    table = pa.table({"id": names, "split": ["test"] * len(rows), "captions": [[n] for n in names],
                      "width": [1] * len(rows), "height": [1] * len(rows)})  # fmt: skip
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
    times: dict[str, list[float]] = {name: [] for name in sides}
    found: dict[str, list[set[str]]] = {"exact": [], "graph": []}
    for side in sides.values():
        side(queries[0])  # what is loaded at the first query
    for query in queries:
        for name, side in sides.items():
            start = time.perf_counter()
            answer = side(query)
            times[name].append(time.perf_counter() - start)
            if name in found:
                found[name].append({hit.id for hit in answer})
    ms = {name: 1000 * float(np.median(taken)) for name, taken in times.items()}
    shared = sum(len(a & b) for a, b in zip(found["exact"], found["graph"], strict=True))
    recall = shared / (K * len(queries))
    for name, alone in (("exact", "numpy"), ("graph", "usearch")):
        print_row(
            name,
            f"{len(rows):,}",
            f"{ms[name]:.2f}",
            f"{ms[name] / ms[alone]:.2f}",
            f"{1 if name == 'exact' else recall:.3f}",
            f"{ms['exact'] / ms[name]:.1f}",
        )


if __name__ == "__main__":
    main()
