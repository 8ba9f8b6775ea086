"""Image-text retrieval: recall at k both ways, with any number of captions for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK_QUERIES = 512
WAYS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class Ranks:
    """The number of wrong answers before the first right one, for every query (0 is a hit at 1).

    A wrong answer with the same score as the right one counts as before it.

    Attributes:
        image_to_text: ``[N]``, before the best of an image's own captions.
        text_to_image: ``[M]``, before a caption's own image.
    """

    image_to_text: NDArray[np.int64]
    text_to_image: NDArray[np.int64]

    def recall(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Recall at ``ks`` both ways, in percent: ``{"image_to_text/R@1": …}``."""
        return {
            f"{way}/R@{k}": 100 * float((ranks < k).mean())
            for way, ranks in vars(self).items()
            for k in ks
        }


def retrieval_ranks(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
) -> Ranks:
    """Rank images for texts and texts for images by their inner product.

    Args:
        image_embeddings: ``[N, D]``, of unit norm for the cosine.
        text_embeddings: ``[M, D]``, likewise.
        text_to_image: ``[M]``, the row of the image that a text belongs to; every image has one.

    Raises:
        ValueError: shapes that do not fit, NaN, an index out of range, an image without a text.

    Scores are computed in blocks of queries: memory grows with N + M, not with N·M.
    """
    images = np.asarray(image_embeddings, np.float32)
    texts = np.asarray(text_embeddings, np.float32)
    owner = np.asarray(text_to_image)
    _check(images, texts, owner)
    text_ranks = np.empty(len(texts), np.int64)
    for block in _blocks(len(texts)):
        scores = texts[block] @ images.T
        right = np.take_along_axis(scores, owner[block, None], axis=1)
        text_ranks[block] = (scores >= right).sum(axis=1) - 1
    image_ranks = np.empty(len(images), np.int64)
    by_owner = np.argsort(owner, kind="stable")
    first = np.searchsorted(owner[by_owner], np.arange(len(images) + 1))
    grouped = texts[by_owner]
    for block in _blocks(len(images)):
        # An image's own captions are a run of columns, so that no mask of the block is needed.
        scores = images[block] @ grouped.T
        for row, image in enumerate(range(block.start, block.start + len(scores))):
            own = scores[row, first[image] : first[image + 1]]
            best = own.max()
            image_ranks[image] = (scores[row] >= best).sum() - (own >= best).sum()
    return Ranks(image_ranks, text_ranks)


def retrieval_metrics(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Recall at ``ks`` both ways, in percent: ``image_to_text/R@1`` … ``text_to_image/R@10``.

    An image is a hit when any of its captions is among the first k texts; text to image is averaged
    over captions. Ties count against the model; without ties this is CLIP_benchmark's recall.
    Arguments and errors are those of ``retrieval_ranks``.

    Example:
        Two images, three captions, the last two of the second image:

        >>> retrieval_metrics(np.eye(2), np.eye(2)[[0, 1, 0]], np.array([0, 1, 1]), ks=(1,))
        {'image_to_text/R@1': 50.0, 'text_to_image/R@1': 66.66666666666666}
    """
    return retrieval_ranks(image_embeddings, text_embeddings, text_to_image).recall(ks)


def _blocks(n: int) -> list[slice]:
    return [slice(start, start + BLOCK_QUERIES) for start in range(0, n, BLOCK_QUERIES)]


def _check(
    images: NDArray[np.float32], texts: NDArray[np.float32], owner: NDArray[np.integer]
) -> None:
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError(f"embeddings must be [N, D] and [M, D], got {images.shape}, {texts.shape}")
    if owner.shape != (len(texts),) or not np.issubdtype(owner.dtype, np.integer):
        raise ValueError(f"text_to_image must be integer [{len(texts)}], got {owner.shape}")
    if not (np.isfinite(images).all() and np.isfinite(texts).all()):
        raise ValueError("embeddings must be finite")
    if len(owner) and (owner.min() < 0 or owner.max() >= len(images)):
        raise ValueError(f"text_to_image must lie in [0, {len(images)})")
    if missing := np.setdiff1d(np.arange(len(images)), owner).size:
        raise ValueError(f"{missing} images have no text")
