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
        image_to_text: ``[N]``, for images as queries.
        text_to_image: ``[M]``, for captions as queries.
        groups: ``[N]``, counted from 0: the captions and images of a group are right answers to
            each other.
    """

    image_to_text: NDArray[np.int64]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]

    def recall(self, ks: Sequence[int] = (1, 5, 10), *, prefix: str = "") -> dict[str, float]:
        """Recall at ``ks`` both ways, in percent: ``{"image_to_text/R@1": …}``, after a prefix."""
        return {
            f"{prefix}{way}/R@{k}": 100 * float((getattr(self, way) < k).mean())
            for way in WAYS
            for k in ks
        }


def retrieval_ranks(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
    groups: NDArray[np.integer] | None = None,
) -> Ranks:
    """Rank images for texts and texts for images by their inner product.

    Args:
        image_embeddings: ``[N, D]``, of unit norm for the cosine.
        text_embeddings: ``[M, D]``, likewise.
        text_to_image: ``[M]``, the row of the image that a text belongs to; every image has one.
        groups: ``[N]``, the relevance relation: a text is right for the images of the group of its
            own image. By default every image is its own group, which is strict recall.

    Raises:
        ValueError: shapes that do not fit, NaN, an index out of range, an image without a text.

    Scores are computed in blocks of queries: memory grows with N + M, not with N·M.
    """
    images = np.asarray(image_embeddings, np.float32)
    texts = np.asarray(text_embeddings, np.float32)
    owner = np.asarray(text_to_image)
    _check(images, texts, owner)
    own = np.arange(len(images)) if groups is None else np.asarray(groups)
    if own.shape != (len(images),) or not np.issubdtype(own.dtype, np.integer):
        raise ValueError(f"groups must be integer [{len(images)}], got {own.dtype} {own.shape}")
    of_images = np.unique(own, return_inverse=True)[1]
    of_texts = of_images[owner]
    return Ranks(
        image_to_text=_ranks(images, of_images, texts, of_texts),
        text_to_image=_ranks(texts, of_texts, images, of_images),
        groups=of_images,
    )


def retrieval_metrics(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
    ks: Sequence[int] = (1, 5, 10),
    groups: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """Recall at ``ks`` both ways, in percent: ``image_to_text/R@1`` … ``text_to_image/R@10``.

    An image is a hit when any right caption is among the first k texts, and a caption when any
    right image is among the first k. Ties count against the model; without ties, strict recall is
    that of CLIP_benchmark. Arguments and errors are those of ``retrieval_ranks``.

    Example:
        Two images, three captions, the last two of the second image:

        >>> retrieval_metrics(np.eye(2), np.eye(2)[[0, 1, 0]], np.array([0, 1, 1]), ks=(1,))
        {'image_to_text/R@1': 50.0, 'text_to_image/R@1': 66.66666666666666}
    """
    return retrieval_ranks(image_embeddings, text_embeddings, text_to_image, groups).recall(ks)


def _ranks(
    queries: NDArray[np.float32],
    query_groups: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_groups: NDArray[np.int64],
) -> NDArray[np.int64]:
    """How many of the gallery of other groups come before the best of the query's own group."""
    order = np.argsort(gallery_groups, kind="stable")
    # The right answers are a run of columns, so that no mask of the block is needed.
    gallery, in_order = gallery[order], gallery_groups[order]
    first = np.searchsorted(in_order, query_groups, side="left")
    last = np.searchsorted(in_order, query_groups, side="right")
    ranks = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), BLOCK_QUERIES):
        scores = queries[start : start + BLOCK_QUERIES] @ gallery.T
        for query, row in enumerate(scores, start):
            right = row[first[query] : last[query]]
            best = right.max()
            ranks[query] = (row >= best).sum() - (right >= best).sum()
    return ranks


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
