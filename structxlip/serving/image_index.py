"""The index of a dataset, `indexes/<dataset>`: what a search reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError
from structxlip.evaluation.reranking import TOP, Candidates
from structxlip.serving.scoring import By, Query, Scorer, best

if TYPE_CHECKING:
    import pyarrow as pa

INDEXES = Path("indexes")
SETTINGS, TABLE = "index.json", "images.parquet"
ARRAYS: dict[By, str] = {"content": "images.npy", "fused": "fused.npy", "structure": "edges.npy"}
PATCHES = "patches"  # of the edge maps, by which answers are reranked
FILES: dict[str, str] = {str(by): file for by, file in ARRAYS.items()} | {PATCHES: "patches.npy"}
# From rows of the index to their late interaction with a query.
Late = Callable[[NDArray[np.int64]], NDArray[np.float32]]


@dataclass(frozen=True)
class Hit:
    """One answer: its score, and what the table says of the image.

    The score is the cosine. Where answers are reranked it is higher by what the late interaction
    adds; see ``Candidates.bonus``.
    """

    score: float
    id: str
    split: str
    captions: list[str]


class ImageIndex:
    """An index that the stage `index` wrote.

    Args:
        directory: the folder.

    Attributes:
        settings: the content of ``index.json``: ``model`` (the folder of the model), ``digest``
            (``model_digest`` of it), ``alpha``, ``beta``, ``exact_below``.
        patches: ``[N, P, D]``, by which answers are reranked; None where nothing is.
        ids: of the images, ``[N]``.
        splits: of the images, ``[N]``.

    Raises ``UserError`` for a folder that holds no index.
    """

    def __init__(self, directory: Path) -> None:
        import pyarrow.parquet as pq

        self.directory = directory
        try:
            self.settings: dict[str, Any] = json.loads((directory / SETTINGS).read_text())
            columns = ["id", "split", "captions", "width", "height"]
            self.table: pa.Table = pq.read_table(directory / TABLE, columns=columns)
        except (OSError, ValueError):
            raise UserError(
                f"{directory} holds no index; run `dvc repro index@{directory.name}`"
            ) from None
        self.ids: list[str] = self.table["id"].to_pylist()
        self.splits = np.array(self.table["split"].to_pylist())
        self.rows = {name: row for row, name in enumerate(self.ids)}
        self.alpha = float(self.settings["alpha"])
        self.beta = float(self.settings.get("beta", 0.0))
        self.stored = {
            name: np.load(path, mmap_mode="r")
            for name, file in FILES.items()
            if (path := directory / file).is_file()
        }
        self.arrays = {by: self.stored[by] for by in ARRAYS if by in self.stored}
        self.patches = self.stored.get(PATCHES)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def has_edges(self) -> bool:
        """Whether the model has an edge branch."""
        return "structure" in self.arrays

    def belongs_to(self, digest: str) -> bool:
        """Whether it was made by the model with this digest."""
        return bool(self.settings["digest"] == digest)

    def row(self, name: str) -> int:
        """The row of an image; ``UserError`` for an id that is not in the index."""
        if name not in self.rows:
            raise UserError(f"{self.directory} has no image {name!r}", 2)
        return self.rows[name]

    def query(self, name: str) -> Query:
        """The query for images like the one with this id."""
        row = self.row(name)
        edges = self.arrays["structure"][row].astype(np.float32) if self.has_edges else None
        return Query(self.arrays["content"][row].astype(np.float32), edges)

    def thumbnail(self, name: str) -> bytes:
        """The JPEG of an image, ``THUMBNAIL_PX`` on its longer side."""
        found: bytes = self._thumbnails[self.row(name)].as_py()
        return found

    @cached_property
    def _thumbnails(self) -> pa.ChunkedArray:
        import pyarrow.parquet as pq

        path = self.directory / TABLE
        return pq.read_table(path, columns=["thumbnail"], memory_map=True)["thumbnail"]

    def search(
        self,
        query: Query,
        *,
        by: str = "fused",
        k: int = 10,
        alpha: float | None = None,
        split: str | None = None,
        without: str | None = None,
        late: Late | None = None,
        beta: float = 0.0,
    ) -> list[Hit]:
        """The ``k`` best images, the best first.

        Args:
            query: what is searched for.
            by: what of the images is compared with it.
            k: the most answers.
            alpha: weight of the edges in `fused`; None: that of the index.
            split: only images of this split.
            without: the id of an image that is no answer.
            late: the late interaction of the query with rows, by which the first answers are
                reranked.
            beta: its weight.

        Raises ``UserError`` for an unknown split, a bad number, or structure where there is none.
        """
        by, alpha = self._checked(query, by, k, alpha, split)
        count = k + 1 if late is None else max(k + 1, TOP)
        if self.is_approximate and split is None and self._has_graph(by, alpha):
            rows, scores = self._approximately(query, by, count, alpha)
        else:
            of_all = self._scorer.scores(query, by, alpha)
            if split is not None:
                of_all = np.where(self.splits == split, of_all, -np.inf)
            rows = best(of_all, count)
            rows = rows[of_all[rows] > -np.inf]
            scores = of_all[rows]
        if late is not None and len(rows):
            first = rows[:TOP]
            scores = scores.copy()
            scores[:TOP] += Candidates(first[None], late(first)[None]).bonus(beta)[0]
            order = np.argsort(-scores, kind="stable")
            rows, scores = rows[order], scores[order]
        left_out = self.rows.get(without) if without is not None else None
        pairs = zip(rows.tolist(), scores.tolist(), strict=True)
        return [self._hit(row, score) for row, score in pairs if row != left_out][:k]

    def _checked(
        self, query: Query, by: str, k: int, alpha: float | None, split: str | None
    ) -> tuple[By, float]:
        """Check the arguments of a search; returns ``by`` and alpha, with its default filled in.

        Raises ``UserError`` as ``search`` does.
        """
        kind = next((known for known in ARRAYS if known == by), None)
        if kind is None:
            raise UserError(f"by is one of {', '.join(ARRAYS)}, not {by!r}", 2)
        if k < 1:
            raise UserError(f"k is at least 1, not {k}", 2)
        if split is not None and split not in self.splits:
            known = ", ".join(sorted(set(self.splits.tolist())))
            raise UserError(f"no image is in the split {split!r}; splits are: {known}", 2)
        if alpha is not None and not 0 <= alpha < float("inf"):
            raise UserError(f"alpha is a weight of 0 or more, not {alpha}", 2)
        if (kind == "structure" or alpha) and not self.has_edges:
            raise UserError(
                f"{self.settings['model']} has no edge branch, so that it knows no structure; "
                f"search by content, or set register.arm to structxlip and run "
                f"`dvc repro index@{self.directory.name}`"
            )
        if kind == "structure" and (query.structure is None or not query.structure.any()):
            raise UserError("the image that is searched for has no structure; search by content")
        return kind, self.alpha if alpha is None else alpha

    def _hit(self, row: int, score: float) -> Hit:
        captions = self.table["captions"][row].as_py()
        return Hit(round(score, 4), self.ids[row], str(self.splits[row]), captions)

    @property
    def is_approximate(self) -> bool:
        """Whether there are so many images that a graph finds them."""
        return len(self) > int(self.settings["exact_below"])

    @cached_property
    def _scorer(self) -> Scorer:
        def array(by: By) -> NDArray[np.floating]:
            rows = self.arrays[by]
            return rows if self.is_approximate else rows.astype(np.float32)

        return Scorer(array("content"), array("structure") if self.has_edges else None)

    def _has_graph(self, by: By, alpha: float) -> bool:
        return by != "fused" or alpha == self.alpha

    @cached_property
    def _graphs(self) -> dict[str, Any]:
        from usearch.index import Index

        return {
            by: Index.restore(str(graph_file(self.directory, by)), view=True) for by in self.arrays
        }

    def _approximately(
        self, query: Query, by: By, k: int, alpha: float
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        graph = self._graphs.get(by, self._graphs["content"])
        found = graph.search(query.vector(by, alpha), min(k, len(self)))
        return found.keys.astype(np.int64), 1 - found.distances.astype(np.float32)


def graph_file(directory: Path, by: str) -> Path:
    """Where the graph of ``usearch`` for a kind of search lies."""
    return directory / f"{by}.usearch"


def write_index(
    directory: Path,
    *,
    settings: dict[str, Any],
    table: pa.Table,
    arrays: Mapping[str, NDArray[np.float16]],
) -> None:
    """Write an index, and the graphs of ``usearch`` when it has more rows than ``exact_below``."""
    import pyarrow.parquet as pq

    for name, rows in arrays.items():
        np.save(directory / FILES[name], rows)
        if name in ARRAYS and len(rows) > settings["exact_below"]:
            _write_graph(graph_file(directory, name), rows)
    pq.write_table(table, directory / TABLE, compression="zstd", row_group_size=8192)
    (directory / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def _write_graph(file: Path, rows: NDArray[np.float16]) -> None:
    from usearch.index import Index

    graph = Index(ndim=rows.shape[1], metric="ip", dtype="f16", connectivity=32, expansion_add=256,
                  expansion_search=256)  # fmt: skip
    graph.add(np.arange(len(rows), dtype=np.uint64), rows)
    graph.save(str(file))


class Earlier:
    """The rows of an earlier index of the same model, to take again.

    Args:
        directory: of the index; it may be absent.
        digest: of the model.
        alpha: of the model.
        reranks: whether the new index has patches.
    """

    def __init__(self, directory: Path, digest: str, alpha: float, *, reranks: bool) -> None:
        import pyarrow.parquet as pq

        self.rows: dict[str, int] = {}
        try:
            index = ImageIndex(directory)
            keys = pq.read_table(directory / TABLE, columns=["key"])["key"].to_pylist()
        except (UserError, KeyError):
            return
        has_all = not reranks or index.patches is not None
        if index.belongs_to(digest) and index.alpha == alpha and has_all:
            self.index = index
            self.rows = {key: row for row, key in enumerate(keys)}

    def take(
        self, keys: Sequence[str], make: Callable[[NDArray[np.int64]], dict[str, NDArray[Any]]]
    ) -> dict[str, NDArray[np.float16]]:
        """The arrays of rows with these keys: those of the earlier index, and what ``make`` gives
        for the places of the others."""
        known = np.array([self.rows.get(key, -1) for key in keys], np.int64)
        new = np.flatnonzero(known < 0)
        made = make(new)
        found = {}
        for name, rows in made.items():
            like = rows if len(new) else self.index.stored[name]
            found[name] = np.empty((len(keys), *like.shape[1:]), np.float16)
            found[name][new] = rows
            if len(new) < len(keys):
                found[name][known >= 0] = self.index.stored[name][known[known >= 0]]
        return found

    def thumbnail(self, key: str) -> bytes | None:
        """The thumbnail of an earlier row."""
        row = self.rows.get(key)
        if row is None:
            return None
        found: bytes = self.index._thumbnails[row].as_py()
        return found
