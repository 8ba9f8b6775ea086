"""The side-by-side protocol: base, vanilla and structxlip on the same test split."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structxlip.evaluation.retrieval import Ranks, retrieval_ranks
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.features.groups import caption_groups
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.structxlip import StructXLIP

BLOCK = 256


@dataclass(frozen=True)
class Embeddings:
    """A split in the joint space.

    Attributes:
        images: ``[N, D]``.
        texts: ``[M, D]``.
        text_to_image: ``[M]``, the image of each text.
        groups: ``[N]``; images that share a caption have the same group.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    text_to_image: NDArray[np.int64]
    groups: NDArray[np.int64]

    def ranks(self, *, strict: bool = False) -> Ranks:
        """The ranks of the right answers, both ways.

        What training calls positives is right: the captions of the group of an image. With
        ``strict`` only its own captions are. They are computed once, for metrics and report.
        """
        return self._strict_ranks if strict else self._ranks

    @cached_property
    def _ranks(self) -> Ranks:
        return retrieval_ranks(self.images, self.texts, self.text_to_image, self.groups)

    @cached_property
    def _strict_ranks(self) -> Ranks:
        return retrieval_ranks(self.images, self.texts, self.text_to_image)

    @property
    def sharing(self) -> int:
        """How many images share a caption with another one."""
        _, counts = np.unique(self.groups, return_counts=True)
        return int(counts[counts > 1].sum())


@dataclass(frozen=True)
class Comparison:
    """The result of the protocol.

    Attributes:
        metrics: the content of ``metrics.json``.
        test: the test split as each model embeds it.
    """

    metrics: dict[str, Any]
    test: dict[str, Embeddings]


def embed_split(
    model: StructXLIP, store: FeatureStore, edges: View | None, split: str, alpha: float
) -> Embeddings:
    """Embed the pairs of a split, in blocks; with ``alpha`` above 0 the edge branch is fused."""
    model.eval()
    device = model.logit_scale.device
    rows = store.rows(split)
    captions, text_to_image = store.captions_of(rows)

    def embed_images(block: NDArray[np.int64]) -> Tensor:
        images = torch.from_numpy(store.image[block]).to(device)
        if edges is None or not alpha:
            return model.embed_images(images, None, 0.0)
        return model.embed_images(images, torch.from_numpy(edges.maps(block)).to(device), alpha)

    def embed_texts(block: NDArray[np.int64]) -> Tensor:
        return model.embed_texts(torch.from_numpy(store.caption[block]).to(device))

    return Embeddings(
        images=_in_blocks(embed_images, rows),
        texts=_in_blocks(embed_texts, captions),
        text_to_image=text_to_image,
        groups=caption_groups(text_to_image, store.caption_ids[captions]),
    )


def _in_blocks(
    embed: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64]
) -> NDArray[np.float32]:
    blocks = np.array_split(rows, math.ceil(len(rows) / BLOCK))
    return np.concatenate([embed(block).float().cpu().numpy() for block in blocks])


def choose_alpha(
    model: StructXLIP, store: FeatureStore, edges: View | None, alphas: Sequence[float]
) -> float:
    """The weight α of the edge branch with the best mean R@1 on validation; the smallest of equals.

    It is 0 for a model without an edge branch.
    """
    if not model.has_edges:
        return 0.0
    if len(alphas) == 1:
        return alphas[0]
    return max(sorted(alphas), key=lambda alpha: validated(model, store, edges, alpha))


def validated(model: StructXLIP, store: FeatureStore, edges: View | None, alpha: float) -> float:
    """Mean R@1 of both ways on validation with the edge branch at α, in percent."""
    return mean_recall(embed_split(model, store, edges, "val", alpha).ranks().recall((1,)))


def compare(
    base: StructXLIP,
    vanilla: StructXLIP,
    structxlip: StructXLIP,
    store: FeatureStore,
    edges: View | None,
    *,
    alphas: Sequence[float],
    bootstrap_samples: int,
    seed: int,
) -> Comparison:
    """Recall of the three models on the test split, and the gain over vanilla with its interval.

    Two rows come from the model ``structxlip``: one with the edge branch fused at the alpha that
    validation chose, as it is deployed, and ``structxlip_image_only``, without the branch.
    """
    alpha = choose_alpha(structxlip, store, edges, alphas)
    test = {
        "base": embed_split(base, store, None, "test", 0.0),
        "vanilla": embed_split(vanilla, store, None, "test", 0.0),
        "structxlip_image_only": embed_split(structxlip, store, None, "test", 0.0),
    }
    test["structxlip"] = test["structxlip_image_only"]
    if alpha:
        test["structxlip"] = embed_split(structxlip, store, edges, "test", alpha)
    metrics = _measured(test, bootstrap_samples, seed)
    sharing = test["base"].sharing
    strict = _measured(test, bootstrap_samples, seed, strict=True) if sharing else metrics
    for name, values in metrics.copy().items():
        metrics[name] = values | {f"strict/{key}": found for key, found in strict[name].items()}
    metrics["alpha"] = alpha
    metrics["validation"] = {
        "vanilla": validated(vanilla, store, None, 0.0),
        "structxlip": validated(structxlip, store, edges, alpha),
    }
    metrics["test_pairs"] = len(test["base"].images)
    metrics["test_captions"] = len(test["base"].texts)
    metrics["test_pairs_sharing_a_caption"] = sharing
    return Comparison(metrics, test)


def _measured(
    test: dict[str, Embeddings], samples: int, seed: int, *, strict: bool = False
) -> dict[str, Any]:
    """The recall of each model, and the gains over vanilla with their intervals."""
    ranks = {name: embeddings.ranks(strict=strict) for name, embeddings in test.items()}
    measured: dict[str, Any] = {name: found.metrics() for name, found in ranks.items()}
    for name, arm in (("delta", "structxlip"), ("delta_image_only", "structxlip_image_only")):
        measured[name] = bootstrap_delta(
            ranks["vanilla"], ranks[arm], test[arm].text_to_image, samples=samples, seed=seed
        )
    return measured
