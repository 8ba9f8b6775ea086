"""Pairs with equal captions: positives in training, right answers in evaluation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


def caption_ids(texts: Iterable[str]) -> NDArray[np.int64]:
    """An id for each text, ``[M]``; texts that differ in upper and lower case alone have the same.

    The ids count from 0 in the order in which texts first occur.
    """
    known: dict[str, int] = {}
    ids = [known.setdefault(text.lower(), len(known)) for text in texts]
    return np.array(ids, np.int64)


def caption_groups(
    text_to_image: NDArray[np.integer], ids: NDArray[np.integer]
) -> NDArray[np.int64]:
    """The group of each image, ``[N]``: images with a common caption share one.

    They may share it through other images: the group is named by its first image.

    Args:
        text_to_image: ``[M]``, the image of each caption; every image has one.
        ids: ``[M]``, of the captions (``caption_ids``).
    """
    parent = list(range(int(text_to_image.max(initial=-1)) + 1))

    def root(image: int) -> int:
        while parent[image] != image:
            parent[image] = parent[parent[image]]
            image = parent[image]
        return image

    first: dict[int, int] = {}
    for image, caption in zip(text_to_image.tolist(), ids.tolist(), strict=True):
        one, other = root(image), root(first.setdefault(caption, image))
        parent[max(one, other)] = min(one, other)
    return np.array([root(image) for image in range(len(parent))], np.int64)
