"""The files of an index, `indexes/<dataset>`, and how they are written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from structxlip.serving.scoring import By

if TYPE_CHECKING:
    import pyarrow as pa

INDEXES = Path("indexes")
SETTINGS, TABLE, THUMBNAILS = "index.json", "images.parquet", "thumbnails.arrow"
ARRAYS: dict[By, str] = {"content": "images.npy", "fused": "fused.npy", "structure": "edges.npy"}
PATCHES = "patches"  # of the edge maps, by which answers are reranked
FILES: dict[str, str] = {str(by): file for by, file in ARRAYS.items()} | {PATCHES: "patches.npy"}


def write_index(
    directory: Path,
    *,
    settings: dict[str, Any],
    table: pa.Table,
    arrays: Mapping[str, NDArray[np.float16]],
) -> None:
    """Write an index, and the graphs of ``usearch`` when it has more rows than ``exact_below``.

    Args:
        directory: an empty folder.
        settings: see ``ImageIndex.settings``.
        table: a row for each image: ``id``, ``split``, ``captions``, ``width``, ``height``,
            ``thumbnail``, and what else is to be kept.
        arrays: unit embeddings ``[N, D]``, and patches ``[N, P, D]``, by their names in ``FILES``.
    """
    import pyarrow.parquet as pq

    for name, rows in arrays.items():
        np.save(directory / FILES[name], rows)
        if name in ARRAYS and len(rows) > settings["exact_below"]:
            _write_graph(graph_file(directory, name), rows)
    pq.write_table(table.drop_columns(["thumbnail"]), directory / TABLE, compression="zstd")
    _write_thumbnails(directory / THUMBNAILS, table.select(["thumbnail"]))
    (directory / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def _write_thumbnails(file: Path, table: pa.Table) -> None:
    """Write the thumbnails so that one is read without the others: not compressed, which would
    shrink no JPEG, and mapped into memory by whoever reads them."""
    import pyarrow as pa

    with pa.OSFile(str(file), "wb") as target, pa.ipc.new_file(target, table.schema) as writer:
        writer.write_table(table, max_chunksize=8192)


def read_thumbnails(directory: Path) -> pa.ChunkedArray:
    """The thumbnails of an index, memory-mapped."""
    import pyarrow as pa

    with pa.memory_map(str(directory / THUMBNAILS)) as source:
        return pa.ipc.open_file(source).read_all()["thumbnail"]


def graph_file(directory: Path, by: str) -> Path:
    """Where the graph of ``usearch`` for a kind of search lies."""
    return directory / f"{by}.usearch"


def _write_graph(file: Path, rows: NDArray[np.float16]) -> None:
    from usearch.index import Index

    graph = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=32, expansion_add=256,
                  expansion_search=256)  # fmt: skip
    graph.add(np.arange(len(rows), dtype=np.uint64), rows)
    graph.save(str(file))
