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
        of_texts, of_images = [], []
        first_images, first_texts = best(texts, images, top), best(images, texts, top)
        for text, answers in enumerate(first_images):
            chunks = self.chunks[self.offsets[text] : self.offsets[text + 1]]
            of_texts.append(late_interaction(chunks, self.patches[answers], self.temperature))
        for image, answers in enumerate(first_texts):
            rows = [np.arange(*self.offsets[text : text + 2]) for text in answers]
            chunks, patches = self.chunks[np.concatenate(rows)], self.patches[image][None]
            cosines = chunk_cosines(chunks, patches, self.temperature)[:, 0].numpy()
            lengths = np.array([*map(len, rows)])
            starts = np.cumsum(lengths) - lengths
            of_images.append(np.add.reduceat(cosines, starts) / lengths)
        return {
            "image_to_text": Candidates(first_texts, np.array(of_images, np.float32)),
            "text_to_image": Candidates(first_images, np.array(of_texts, np.float32)),
        }


def late_interaction(chunks: Tensor, patches: Tensor, temperature: float) -> NDArray[np.float32]:
    """The late interaction of a caption with images, ``[n]``, in [-1, 1].

    It is the mean over the chunks. An image without structure says nothing for or against the
    caption: it has the mean of the others.

    Args:
        chunks: ``[C, D]``, of unit norm.
        patches: ``[n, P, D]``, of unit norm; 0 for an image without structure.
        temperature: of the attention of chunks over patches.
    """
    found: NDArray[np.float32] = chunk_cosines(chunks, patches, temperature).mean(dim=0).numpy()
    blank = ~patches.flatten(1).any(dim=1).numpy()
    if blank.any() and not blank.all():
        found[blank] = found[~blank].mean()
    return found


def best(queries: NDArray[np.float32], gallery: NDArray[np.float32], top: int) -> NDArray[np.int64]:
    """``[Q, K]``, the places of the ``top`` answers of each query, in no order."""
    count = min(top, len(gallery))
    found = [
        np.argpartition(-(block @ gallery.T), count - 1, axis=1)[:, :count]
        for block in np.array_split(queries, max(1, len(queries) // 256))
    ]
    return np.concatenate(found)
