"""Image-text retrieval both ways: recall at k, and measures of the whole ranking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DEPTH = 10  # of mAP@10 and nDCG@10
BLOCK_SCORES = 2**24  # scores in memory at once, 64 MiB
WAYS = ("image_to_text", "text_to_image")


@dataclass(frozen=True)
class Ranks:
    """Where the right answers of every query stand.

    A wrong answer with the same score as a right one counts as before it.

    Attributes:
        image_to_text: ``[N]``, for images as queries: the number of wrong answers before the first
            right one, 0 for a hit at 1.
        text_to_image: ``[M]``, the same for captions as queries.
        groups: ``[N]``, counted from 0: the captions and images of a group are right answers to
            each other.
        average_precision: by way, in [0, 1], among the first 10 answers: the sum of the precision
            at each right answer, divided by the number of right answers (`map_cut_10` of
            trec_eval).
        ndcg: by way, in [0, 1]: the discounted gain of the first 10 answers with gains of 0 and 1,
            divided by that of the best order (`ndcg_cut_10` of trec_eval).
    """

    image_to_text: NDArray[np.int64]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]
    average_precision: Mapping[str, NDArray[np.float64]]
    ndcg: Mapping[str, NDArray[np.float64]]

    def recall(self, ks: Sequence[int] = (1, 5, 10), *, prefix: str = "") -> dict[str, float]:
        """Recall at ``ks`` both ways, in percent: ``{"image_to_text/R@1": …}``, after a prefix."""
        return {
            f"{prefix}{way}/R@{k}": 100 * float((getattr(self, way) < k).mean())
            for way in WAYS
            for k in ks
        }

    def metrics(self, ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
        """Recall at ``ks``, and for each way:

        - ``median_rank`` of the first right answer, counted from 1;
        - ``MRR``, the mean of 1 / that rank;
        - ``mAP@10`` and ``nDCG@10``, the means of ``average_precision`` and ``ndcg``.

        All but the median rank are in percent.
        """
        found = self.recall(ks)
        for way in WAYS:
            first = getattr(self, way) + 1
            found[f"{way}/median_rank"] = float(np.median(first))
            found[f"{way}/MRR"] = 100 * float((1 / first).mean())
            found[f"{way}/mAP@{DEPTH}"] = 100 * float(self.average_precision[way].mean())
            found[f"{way}/nDCG@{DEPTH}"] = 100 * float(self.ndcg[way].mean())
        return found


class Bonus(NamedTuple):
    """Numbers to add to the scores of some answers of each query, before they are ranked.

    Attributes:
        answers: ``[Q, K]``, their places in the gallery; no two of a query are equal.
        values: ``[Q, K]``.
    """

    answers: NDArray[np.int64]
    values: NDArray[np.float32]


def retrieval_ranks(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
    groups: NDArray[np.integer] | None = None,
    bonuses: Mapping[str, Bonus] | None = None,
) -> Ranks:
    """Rank images for texts and texts for images by their inner product.

    Args:
        image_embeddings: ``[N, D]``, of unit norm for the cosine.
        text_embeddings: ``[M, D]``, likewise.
        text_to_image: ``[M]``, the row of the image that a text belongs to; every image has one.
        groups: ``[N]``, the relevance relation: a text is right for the images of the group of its
            own image. By default every image is its own group, which is strict recall.
        bonuses: by way, what is added to some scores; nothing by default.

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
    of_texts, added = of_images[owner], bonuses or {}
    found = {
        "image_to_text": _ranked(images, of_images, texts, of_texts, added.get("image_to_text")),
        "text_to_image": _ranked(texts, of_texts, images, of_images, added.get("text_to_image")),
    }
    first = {way: ranks for way, (ranks, _, _) in found.items()}
    return Ranks(
        **first,
        groups=of_images,
        average_precision={way: precision for way, (_, precision, _) in found.items()},
        ndcg={way: gain for way, (_, _, gain) in found.items()},
    )


def retrieval_metrics(
    image_embeddings: NDArray[np.floating],
    text_embeddings: NDArray[np.floating],
    text_to_image: NDArray[np.integer],
    ks: Sequence[int] = (1, 5, 10),
    groups: NDArray[np.integer] | None = None,
) -> dict[str, float]:
    """Recall at ``ks``, median rank, MRR, mAP@10 and nDCG@10, both ways; see ``Ranks.metrics``.

    An image is a hit when any right caption is among the first k texts, and a caption when any
    right image is among the first k. Ties count against the model; without ties, strict recall is
    that of CLIP_benchmark, and the rest is that of trec_eval. Arguments and errors are those of
    ``retrieval_ranks``.

    Example:
        Two images, three captions, the last two of the second image:

        >>> found = retrieval_metrics(np.eye(2), np.eye(2)[[0, 1, 0]], np.array([0, 1, 1]))
        >>> found["image_to_text/R@1"], found["text_to_image/MRR"]
        (50.0, 83.33333333333333)
    """
    return retrieval_ranks(image_embeddings, text_embeddings, text_to_image, groups).metrics(ks)


def strict_ceilings(
    text_to_image: NDArray[np.integer], caption_ids: NDArray[np.integer]
) -> dict[str, float]:
    """The highest strict R@1 that any model can reach, in percent, where captions are equal.

    Equal captions have one embedding. So all of them find one image, which is that of some of them
    alone. And an image cannot tell its caption from an equal one of another image: it needs a
    caption of its own.

    Args:
        text_to_image: ``[M]``, the image of each caption; every image has one.
        caption_ids: ``[M]``; equal captions have the same id.

    Returns:
        ``{"image_to_text/R@1": …, "text_to_image/R@1": …}``.
    """
    both, times = np.unique(np.stack([caption_ids, text_to_image]), axis=1, return_counts=True)
    captions, first, owners = np.unique(both[0], return_index=True, return_counts=True)
    found = np.maximum.reduceat(times, first).sum() if len(captions) else 0
    own = both[1][np.repeat(owners == 1, owners)]
    images = len(np.unique(text_to_image))
    return {
        "image_to_text/R@1": 100 * len(np.unique(own)) / max(images, 1),
        "text_to_image/R@1": 100 * float(found) / max(len(caption_ids), 1),
    }


def _ranked(
    queries: NDArray[np.float32],
    query_groups: NDArray[np.int64],
    gallery: NDArray[np.float32],
    gallery_groups: NDArray[np.int64],
    bonus: Bonus | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The first rank, the average precision and the gain of every query."""
    order = np.argsort(gallery_groups, kind="stable")
    if (np.diff(order) < 0).any():
        # The right answers become a run of columns, so that no mask of the block is needed.
        gallery, gallery_groups = gallery[order], gallery_groups[order]
        if bonus:
            bonus = Bonus(np.argsort(order)[bonus.answers], bonus.values)
    first = np.searchsorted(gallery_groups, query_groups, side="left")
    last = np.searchsorted(gallery_groups, query_groups, side="right")
    ranks = np.empty(len(queries), np.int64)
    places = np.full((len(queries), DEPTH), DEPTH)  # of right answers among the first 10
    block = max(1, BLOCK_SCORES // len(gallery))
    for start in range(0, len(queries), block):
        scores = queries[start : start + block] @ gallery.T
        if bonus:
            rows = np.arange(len(scores))[:, None]
            scores[rows, bonus.answers[start : start + block]] += bonus.values[
                start : start + block
            ]
        for query, row in enumerate(scores, start):
            right = np.sort(row[first[query] : last[query]])[::-1]
            for number, score in enumerate(right[:DEPTH]):
                wrong = np.count_nonzero(row >= score) - np.count_nonzero(right >= score)
                if number == 0:
                    ranks[query] = wrong
                if wrong + number >= DEPTH:
                    break
                places[query, number] = wrong + number
    found, numbers = places < DEPTH, np.arange(1, DEPTH + 1)
    total, discounts = last - first, 1 / np.log2(numbers + 1)
    precision = (found * numbers / (places + 1)).sum(axis=1) / total
    ideal = np.cumsum(discounts)[np.minimum(total, DEPTH) - 1]
    return ranks, precision, (found / np.log2(places + 2)).sum(axis=1) / ideal


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
