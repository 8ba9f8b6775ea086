"""A split as a model embeds it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structxlip.errors import UserError
from structxlip.evaluation.reranking import Candidates, LocalFeatures
from structxlip.evaluation.retrieval import Bonus, Ranks, retrieval_ranks
from structxlip.features.groups import caption_groups
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.structxlip import StructXLIP, fused

BLOCK = 256


@dataclass(frozen=True)
class Embeddings:
    """A split in the joint space.

    Attributes:
        images: ``[N, D]``.
        texts: ``[M, D]``.
        text_to_image: ``[M]``, the image of each text.
        groups: ``[N]``; images that share a caption have the same group.
        candidates: by way, the first answers of each query with their late interaction; None where
            nothing is reranked.
        beta: weight of the late interaction.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]
    candidates: dict[str, Candidates] | None = None
    beta: float = 0.0

    def ranks(self, *, strict: bool = False) -> Ranks:
        """The ranks of the right answers, both ways.

        What training calls positives is right: the captions of the group of an image. With
        ``strict`` only its own captions are. They are computed once, for metrics and report.
        """
        return self._strict_ranks if strict else self._ranks

    @cached_property
    def _ranks(self) -> Ranks:
        return self._ranked(self.groups)

    @cached_property
    def _strict_ranks(self) -> Ranks:
        return self._ranked(None)

    def _ranked(self, groups: NDArray[np.int64] | None) -> Ranks:
        found = (self.candidates or {}) if self.beta else {}
        bonuses = {
            way: Bonus(first.answers, first.bonus(self.beta)) for way, first in found.items()
        }
        return retrieval_ranks(self.images, self.texts, self.text_to_image, groups, bonuses)

    def scores(self, text: int) -> NDArray[np.float32]:
        """The scores ``[N]`` of all images for a text."""
        scores = self.images @ self.texts[text]
        if self.candidates and self.beta:
            first = self.candidates["text_to_image"]
            scores[first.answers[text]] += first.bonus(self.beta)[text]
        return scores

    @property
    def sharing(self) -> int:
        """How many images share a caption with another one."""
        _, counts = np.unique(self.groups, return_counts=True)
        return int(counts[counts > 1].sum())


@dataclass(frozen=True)
class Scorer:
    """How images and texts are scored.

    The score is the cosine of ``normalise(v + alpha·e)`` with the text, for the embeddings ``v`` of
    the image and ``e`` of its edge map. With ``beta`` above 0 the first answers of a query are
    reranked by ``score + beta · late interaction``.
    """

    alpha: float = 0.0
    beta: float = 0.0


@dataclass(frozen=True)
class Parts:
    """A split as each part of a model embeds it; all of unit norm.

    Attributes:
        images: ``[N, D]``.
        texts: ``[M, D]``.
        text_to_image: ``[M]``, the image of each text.
        groups: ``[N]``; images that share a caption have the same group.
        edges: ``[N, D]``, of the edge branch, 0 for a map without structure; None without a branch.
        local: features of chunks and patches; None where nothing is reranked.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]
    edges: NDArray[np.float32] | None = None
    local: LocalFeatures | None = None

    def scored(self, scorer: Scorer) -> Embeddings:
        """The split under a scorer. Without an edge branch alpha counts as 0, and without local
        features beta does."""
        images, candidates = self.images, None
        if scorer.alpha and self.edges is not None:
            pair = torch.from_numpy(self.images), torch.from_numpy(self.edges)
            images = fused(*pair, scorer.alpha).numpy()
        if scorer.beta and self.local:
            candidates = self.local.candidates(images, self.texts)
        beta = scorer.beta if candidates else 0.0
        return Embeddings(images, self.texts, self.text_to_image, self.groups, candidates, beta)


@torch.inference_mode()
def embed_parts(
    model: StructXLIP,
    store: FeatureStore,
    edges: View | None,
    split: str,
    attention_temperature: float | None = None,
) -> Parts:
    """Embed the pairs of a split, in blocks.

    Args:
        model: a trained model, which is put into evaluation mode.
        store: the features.
        edges: the inputs of its edge branch; None leaves the branch out.
        split: its name.
        attention_temperature: of the chunks over patches, where answers are reranked. A model whose
            edge branch has no patches has no local features.
    """
    model.eval()
    device = model.logit_scale.device
    rows = store.rows(split)
    if not len(rows):
        raise UserError(f"the split {split!r} has no pairs, so that nothing can be compared")
    captions, text_to_image = store.captions_of(rows)

    def on_device(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(device)

    def read(view: View) -> Callable[[NDArray[np.int64]], Tensor]:
        return lambda block: model.embed_edges(on_device(view.maps(block)))

    with_edges = edges if model.has_edges else None
    local = None
    if with_edges is not None and model.has_patches and attention_temperature is not None:
        local = _local_features(model, store, with_edges, rows, captions, attention_temperature)

    def embed_images(block: NDArray[np.int64]) -> Tensor:
        return model.embed_images(on_device(store.image[block]), None, 0.0)

    def embed_texts(block: NDArray[np.int64]) -> Tensor:
        return model.embed_texts(on_device(store.caption[block]))

    return Parts(
        images=_in_blocks(embed_images, rows),
        texts=_in_blocks(embed_texts, captions),
        text_to_image=text_to_image,
        groups=caption_groups(text_to_image, store.caption_ids[captions]),
        edges=None if with_edges is None else _in_blocks(read(with_edges), rows),
        local=local,
    )


def embed_split(
    model: StructXLIP, store: FeatureStore, edges: View | None, split: str, alpha: float
) -> Embeddings:
    """Embed the pairs of a split; with ``alpha`` above 0 the edge branch is fused."""
    return embed_parts(model, store, edges if alpha else None, split).scored(Scorer(alpha))


@torch.inference_mode()
def _local_features(
    model: StructXLIP,
    store: FeatureStore,
    view: View,
    rows: NDArray[np.int64],
    captions: NDArray[np.int64],
    temperature: float,
) -> LocalFeatures:
    """The features of chunks and patches."""
    device = model.logit_scale.device

    def maps(block: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(view.maps(block)).to(device)

    def embed(features: NDArray[np.float32]) -> Tensor:
        return model.embed_texts(torch.from_numpy(features).to(device))

    chunks, counts = chunk_features(store, captions)
    return LocalFeatures(
        torch.from_numpy(_in_blocks(lambda block: embed(chunks[block]), np.arange(len(chunks)))),
        np.concatenate([[0], np.cumsum(counts)]),
        torch.from_numpy(_in_blocks(lambda block: model.embed_patches(maps(block)), rows)),
        temperature,
    )


def chunk_features(
    store: FeatureStore, captions: NDArray[np.int64]
) -> tuple[NDArray[np.float32], list[int]]:
    """The features ``[K, Dt]`` of the chunks of some captions, and how many each has.

    A caption without a chunk that the text tower reads gives its structural caption instead.
    """
    found = []
    for caption in captions.tolist():
        first, last = store.chunk_offsets[caption : caption + 2]
        chunks = store.chunks[first:last]
        chunks = chunks[chunks.any(axis=-1)]
        found.append(chunks if len(chunks) else store.structure[caption][None])
    return np.concatenate(found), [len(chunks) for chunks in found]


def _in_blocks(
    embed: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    blocks = np.array_split(rows, math.ceil(len(rows) / BLOCK))
    return np.concatenate([embed(block).float().cpu().numpy() for block in blocks])
