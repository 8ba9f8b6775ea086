"""The score of a query against the images of an index: the one place where it is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

# What is compared: the picture, its edges, or both in one embedding.
By = Literal["content", "fused", "structure"]
BLOCK = 8192  # rows of float16 that become float32 at once


@dataclass(frozen=True)
class Query:
    """What is searched for, as unit embeddings ``[D]``.

    A text and a sketch are one embedding in both places. An image has one of its content and one of
    its edges.

    Attributes:
        content: compared with the content of images.
        structure: compared with their edges; None for a model without an edge branch, 0 for an
            image without structure.
    """

    content: NDArray[np.float32]
    structure: NDArray[np.float32] | None

    @classmethod
    def of_one(cls, embedding: NDArray[np.float32]) -> Query:
        """The query of a text or a sketch."""
        return cls(embedding, embedding)

    def vector(self, by: By, alpha: float) -> NDArray[np.float32]:
        """The embedding to compare with: ``normalise(v + alpha·e)`` for `fused`."""
        if by == "content" or self.structure is None or (by == "fused" and not alpha):
            return self.content
        if by == "structure":
            return self.structure
        fused = self.content + alpha * self.structure
        return np.asarray(fused / np.linalg.norm(fused), np.float32)


class Scorer:
    """Cosines of queries with images.

    Args:
        images: ``[N, D]``, unit embeddings of the pictures.
        edges: ``[N, D]``, of their edge maps, 0 for a picture without structure; None for a model
            without an edge branch.
    """

    def __init__(self, images: NDArray[np.floating], edges: NDArray[np.floating] | None) -> None:
        self.images, self.edges = images, edges

    def scores(self, queries: Sequence[Query], by: By, alpha: float) -> NDArray[np.float32]:
        """The cosine ``[Q, N]`` of each query with each image; ``alpha`` is the weight of the edges
        in `fused`. An image without structure scores 0 by `structure`."""
        wanted = np.stack([query.vector(by, alpha) for query in queries])
        if by == "content" or self.edges is None or (by == "fused" and not alpha):
            return product(self.images, wanted)
        if by == "structure":
            return product(self.edges, wanted)
        summed = product(self.images, wanted) + alpha * product(self.edges, wanted)
        cosines, squares = self._parts
        # |v + alpha·e|² of unit v
        return np.asarray(summed / np.sqrt(1 + 2 * alpha * cosines + alpha**2 * squares))

    @cached_property
    def _parts(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The products ``v·e`` and ``e·e`` of each image, ``[N]``."""
        assert self.edges is not None
        found = np.empty((2, len(self.images)), np.float32)
        for start in range(0, len(self.images), BLOCK):
            rows = slice(start, start + BLOCK)
            images, edges = (widened(part[rows]) for part in (self.images, self.edges))
            found[0, rows] = np.einsum("nd,nd->n", images, edges)
            found[1, rows] = np.einsum("nd,nd->n", edges, edges)
        return found[0], found[1]


def product(rows: NDArray[np.floating], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """``wanted @ rows.T`` in float32, ``[Q, N]``; rows of float16 become float32 in blocks, since
    the product of float16 has no fast routine."""
    if rows.dtype == np.float32:
        return np.asarray(wanted @ rows.T)
    found = np.empty((len(wanted), len(rows)), np.float32)
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        found[:, block] = wanted @ widened(rows[block]).T
    return found


def widened(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """The rows in float32, by torch: NumPy takes ten times as long."""
    import torch

    return torch.from_numpy(np.array(rows)).float().numpy()


def best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The rows of the ``k`` highest scores, the highest first; of equals the first row."""
    if k < len(scores):
        lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
        above, equal = np.flatnonzero(scores > lowest), np.flatnonzero(scores == lowest)
        rows = np.sort(np.concatenate([above, equal[: k - len(above)]]))
    else:
        rows = np.arange(len(scores))
    return rows[np.argsort(-scores[rows], kind="stable")]
