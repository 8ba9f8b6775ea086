"""The index of a dataset: what a search reads."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError
from structxlip.evaluation.reranking import TOP, Candidates
from structxlip.serving.index_files import (
    ARRAYS,
    FILES,
    PATCHES,
    SETTINGS,
    TABLE,
    graph_file,
    read_thumbnails,
)
from structxlip.serving.scoring import By, Query, Scorer, best, widened

MOST_SCORES = 2**24  # of several queries at once: 64 MiB
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


@dataclass(frozen=True)
class Asked:
    """A search of an index.

    Attributes:
        query: what is searched for.
        by: what of the images is compared with it.
        k: the most answers.
        alpha: weight of the edges in `fused`; None: that of the index.
        split: only images of this split.
        without: the id of an image that is no answer.
        late: the late interaction of the query with rows, by which the first answers are reranked.
        beta: its weight.
    """

    query: Query
    by: str = "fused"
    k: int = 10
    alpha: float | None = None
    split: str | None = None
    without: str | None = None
    late: Late | None = None
    beta: float = 0.0

    @property
    def count(self) -> int:
        """How many rows are looked for."""
        most = self.k if self.without is None else self.k + 1  # it may be among them
        return most if self.late is None else max(most, TOP)


class How(NamedTuple):
    """What searches that are computed together have in common."""

    by: By
    alpha: float
    by_graph: bool


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
            table = pq.read_table(directory / TABLE, columns=["id", "split", "captions"])
            self._thumbnails = read_thumbnails(directory)
        except (OSError, ValueError):
            raise UserError(
                f"{directory} holds no index; run `dvc repro index@{directory.name}`"
            ) from None
        self.ids: list[str] = table["id"].to_pylist()
        self.splits = np.array(table["split"].to_pylist())
        self._captions = table["captions"].combine_chunks()
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

    def read(self, column: str) -> list[Any]:
        """A column of the table of images."""
        import pyarrow.parquet as pq

        found: list[Any] = pq.read_table(self.directory / TABLE, columns=[column])[
            column
        ].to_pylist()
        return found

    def search(self, query: Query, **how: Any) -> list[Hit]:
        """The ``k`` best images, the best first.

        Args:
            query: what is searched for.
            how: the other attributes of ``Asked``.

        Raises ``UserError`` as ``check`` does.
        """
        return self.search_all([Asked(query, **how)])[0]

    def search_all(self, asked: Sequence[Asked]) -> list[list[Hit]]:
        """The answers of several searches, as ``search`` gives them one by one; those that compare
        alike are computed together. Raises ``UserError`` as ``check`` does."""
        alike: dict[How, list[int]] = defaultdict(list)
        for place, one in enumerate(asked):
            alike[self.check(one)].append(place)
        found: dict[int, list[Hit]] = {}
        for how, places in alike.items():
            group = [asked[place] for place in places]
            candidates = self._by_graph(group, how) if how.by_graph else self._by_all(group, how)
            for place, one, (rows, scores) in zip(places, group, candidates, strict=True):
                found[place] = self._answer(one, rows, scores)
        return [found[place] for place in range(len(asked))]

    def check(self, asked: Asked) -> How:
        """How a search is computed.

        Raises ``UserError`` for an unknown split, a bad number, or structure where there is none.
        """
        kind = next((known for known in ARRAYS if known == asked.by), None)
        if kind is None:
            raise UserError(f"by is one of {', '.join(ARRAYS)}, not {asked.by!r}", 2)
        if asked.k < 1:
            raise UserError(f"k is at least 1, not {asked.k}", 2)
        if asked.split is not None and asked.split not in self.of_split:
            known = ", ".join(sorted(self.of_split))
            raise UserError(f"no image is in the split {asked.split!r}; splits are: {known}", 2)
        alpha = self.alpha if asked.alpha is None else asked.alpha
        if not 0 <= alpha < float("inf"):
            raise UserError(f"alpha is a weight of 0 or more, not {alpha}", 2)
        if (kind == "structure" or asked.alpha) and not self.has_edges:
            raise UserError(
                f"{self.settings['model']} has no edge branch, so that it knows no structure; "
                f"search by content, or set register.arm to structxlip and run "
                f"`dvc repro index@{self.directory.name}`"
            )
        structure = asked.query.structure
        if kind == "structure" and (structure is None or not structure.any()):
            raise UserError("the image that is searched for has no structure; search by content")
        has_graph = kind != "fused" or alpha == self.alpha
        return How(kind, alpha, self.is_approximate and asked.split is None and has_graph)

    def _by_all(
        self, asked: Sequence[Asked], how: How
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The best rows of each search and their scores, by comparing all images."""
        together = max(1, MOST_SCORES // max(1, len(self)))
        for start in range(0, len(asked), together):
            group = asked[start : start + together]
            scored = self._scorer.scores([one.query for one in group], how.by, how.alpha)
            for one, scores in zip(group, scored, strict=True):
                if one.split is None:
                    rows = best(scores, one.count)
                else:
                    rows = self.of_split[one.split]
                    rows = rows[best(scores[rows], one.count)]
                yield rows, scores[rows]

    def _by_graph(
        self, asked: Sequence[Asked], how: How
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The same by a graph, which finds nearly all of the best rows."""
        graph = self._graphs.get(how.by, self._graphs["content"])
        wanted = np.stack([one.query.vector(how.by, how.alpha) for one in asked])
        most = min(max(one.count for one in asked), len(self))
        found = graph.search(wanted, most)
        every = map(np.atleast_2d, (found.keys, found.distances))  # of one query they have one axis
        for one, keys, distances in zip(asked, *every, strict=True):
            yield keys[: one.count].astype(np.int64), 1 - distances[: one.count]

    def _answer(
        self, asked: Asked, rows: NDArray[np.int64], scores: NDArray[np.float32]
    ) -> list[Hit]:
        """The answers of a search from its best rows."""
        if asked.late is not None and len(rows):
            first = rows[:TOP]
            scores = scores.copy()
            scores[:TOP] += Candidates(first[None], asked.late(first)[None]).bonus(asked.beta)[0]
            order = np.argsort(-scores, kind="stable")
            rows, scores = rows[order], scores[order]
        if asked.without is not None:
            others = rows != self.row(asked.without)
            rows, scores = rows[others], scores[others]
        rows, scores = rows[: asked.k], scores[: asked.k]
        captions = self._captions.take(rows).to_pylist()
        return [
            Hit(round(score, 4), self.ids[row], str(self.splits[row]), texts)
            for row, score, texts in zip(rows.tolist(), scores.tolist(), captions, strict=True)
        ]

    @cached_property
    def of_split(self) -> dict[str, NDArray[np.int64]]:
        """The rows of each split."""
        return {str(name): np.flatnonzero(self.splits == name) for name in np.unique(self.splits)}

    @property
    def is_approximate(self) -> bool:
        """Whether there are so many images that a graph finds them."""
        return len(self) > int(self.settings["exact_below"])

    @cached_property
    def _scorer(self) -> Scorer:
        def array(by: By) -> NDArray[np.floating]:
            rows = self.arrays[by]
            return rows if self.is_approximate else widened(rows)

        return Scorer(array("content"), array("structure") if self.has_edges else None)

    @cached_property
    def _graphs(self) -> dict[str, Any]:
        from usearch.index import Index

        return {
            by: Index.restore(str(graph_file(self.directory, by)), view=True) for by in self.arrays
        }
