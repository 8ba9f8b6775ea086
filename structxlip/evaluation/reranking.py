"""Reranking: the first answers of a query, ordered anew by late interaction.

Chunks of the caption attend over the patches of the edge map, as in ``RegionChunkAttentionLoss``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from structxlip.losses.region_chunk_attention import chunk_cosines

TOP = 128  # answers of a query that are reranked


class Candidates(NamedTuple):
    """The first answers of every query.

    Attributes:
        answers: ``[Q, K]``, their places in the gallery.
        late: ``[Q, K]``, the late interaction of each with its query, in [-1, 1].
    """

    answers: NDArray[np.int64]
    late: NDArray[np.float32]

    def bonus(self, beta: float) -> NDArray[np.float32]:
        """``[Q, K]``, what is added to the scores of the candidates.

        They are ordered by ``score + beta · late``. The least late interaction of a query is taken
        off, so that no candidate falls behind an answer that is none.
        """
        return np.float32(beta) * (self.late - self.late.min(axis=1, keepdims=True))


@dataclass(frozen=True)
class LocalFeatures:
    """Features of the chunks of ``M`` captions, and of the patches of ``N`` edge maps.

    Attributes:
        chunks: ``[K, D]``, of unit norm; those of one caption follow each other.
        offsets: ``[M + 1]``; the chunks of caption ``i`` are rows ``offsets[i]`` to
            ``offsets[i + 1]``, one at least.
        patches: ``[N, P, D]``, of unit norm; 0 for a map without structure.
        temperature: of the attention of chunks over patches.
    """

    chunks: Tensor
    offsets: NDArray[np.int64]
    patches: Tensor
    temperature: float

    def candidates(
        self, images: NDArray[np.float32], texts: NDArray[np.float32], top: int = TOP
    ) -> dict[str, Candidates]:
        """The first answers both ways, by the inner product of embeddings.

        Args:
            images: ``[N, D]``.
            texts: ``[M, D]``.
            top: answers of a query, or all where there are fewer.
        """
        gram = self.patches @ self.patches.transpose(1, 2)
        blank = ~self.patches.flatten(1).any(dim=1).numpy()
        of_texts, of_images = [], []
        first_images, first_texts = best(texts, images, top), best(images, texts, top)
        for text, answers in enumerate(first_images):
            chunks = self.chunks[self.offsets[text] : self.offsets[text + 1]]
            late = self._late(chunks, answers, gram).mean(dim=0).numpy()
            if not (without := blank[answers]).all():
                late[without] = late[~without].mean()  # it says nothing for or against them
            of_texts.append(late)
        for image, answers in enumerate(first_texts):
            rows = [np.arange(*self.offsets[text : text + 2]) for text in answers]
            cosines = self._late(self.chunks[np.concatenate(rows)], np.array([image]), gram)[:, 0]
            starts = np.cumsum([0, *map(len, rows[:-1])])
            lengths = np.array([*map(len, rows)])
            of_images.append(np.add.reduceat(cosines.numpy(), starts) / lengths)
        return {
            "image_to_text": Candidates(first_texts, np.array(of_images, np.float32)),
            "text_to_image": Candidates(first_images, np.array(of_texts, np.float32)),
        }

    def _late(self, chunks: Tensor, images: NDArray[np.int64], gram: Tensor) -> Tensor:
        """``[m, n]`` of ``m`` chunks and ``n`` images."""
        patches = self.patches[images]
        scores = (chunks @ patches.flatten(0, 1).T).unflatten(1, patches.shape[:2])
        return chunk_cosines(scores, gram[images], self.temperature)


def best(queries: NDArray[np.float32], gallery: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """``[Q, K]``, the places of the ``top`` answers of each query, in no order."""
    count = min(top, len(gallery))
    found = [
        np.argpartition(-(block @ gallery.T), count - 1, axis=1)[:, :count]
        for block in np.array_split(queries, max(1, len(queries) // 256))
    ]
    return np.concatenate(found)
