"""Pictures of a folder that are already in a dataset, whatever was done to their colours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.progress import say
from structxlip.serving.image_index import ImageIndex
from structxlip.serving.scoring import By
from structxlip.serving.search import Question, Searcher

FALSE_MATCHES = 0.01  # share of new pictures that the default threshold takes for known ones
SAMPLE = 1000  # images of the index that the default threshold is taken from
BLOCK = 64
IMAGES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))


@dataclass(frozen=True)
class Match:
    """A picture of the folder and the image of the index that it matches."""

    file: str
    id: str
    score: float


def find_matches(
    searcher: Searcher, folder: Path, threshold: float | None, by: By
) -> Iterator[Match]:
    """The pictures of a folder, and of the folders in it, that an image of the index matches.

    Args:
        searcher: the index and its model.
        folder: with the pictures.
        threshold: the lowest cosine of a match; None: that of ``default_threshold``.
        by: what is compared: `structure`, `content`, or both `fused`.

    Yields the best match of each picture that has one. What cannot be compared is said, with the
    reason. Raises ``UserError`` for a folder without pictures, or an index without structure.
    """
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGES)
    if not files:
        raise UserError(f"{folder} holds no pictures ({', '.join(sorted(IMAGES))})", 2)
    if threshold is None:
        threshold = default_threshold(searcher.index, by)
        say(f"match: threshold {threshold:.3f}, which {FALSE_MATCHES:.0%} of new pictures reach")
    for start in range(0, len(files), BLOCK):
        block = files[start : start + BLOCK]
        found = searcher.answer([Question(image=str(file), by=by, k=1) for file in block])
        for file, hits in zip(block, found, strict=True):
            if isinstance(hits, UserError | BadImage):
                say(f"match: {file.relative_to(folder)} is not compared: {hits}")
            elif hits and hits[0].score >= threshold:
                yield Match(str(file.relative_to(folder)), hits[0].id, hits[0].score)


def default_threshold(index: ImageIndex, by: By) -> float:
    """The cosine that ``FALSE_MATCHES`` of the images of an index exceed for another image of it.

    So many pictures that are not in the index are taken for one that is, where they are like its
    images. Raises ``UserError`` for an index without structure.
    """
    if by not in index.arrays:
        raise UserError("the model of this index knows no structure; match --by content")
    rows = index.arrays[by]
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64))
    best = np.full(len(chosen), -1.0, np.float32)
    wanted = rows[chosen].astype(np.float32)
    for start in range(0, len(rows), SAMPLE):
        scores = wanted @ rows[start : start + SAMPLE].astype(np.float32).T
        own = (chosen >= start) & (chosen < start + scores.shape[1])
        scores[own, chosen[own] - start] = -1.0
        best = np.maximum(best, scores.max(axis=1))
    return float(np.quantile(best, 1 - FALSE_MATCHES))
