"""The side-by-side protocol: base, vanilla and structxlip on the same test split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, NamedTuple

from structxlip.config import Recipe
from structxlip.evaluation.embedding import Embeddings, Parts, Scorer, embed_parts, embed_split
from structxlip.evaluation.retrieval import strict_ceilings
from structxlip.evaluation.statistics import bootstrap_delta, mean_recall
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.structxlip import StructXLIP


@dataclass(frozen=True)
class Comparison:
    """The result of the protocol.

    Attributes:
        metrics: the content of ``comparison.json``.
        test: the test split as each model embeds it.
    """

    metrics: dict[str, Any]
    test: dict[str, Embeddings]


class Choice(NamedTuple):
    """A scorer that validation chose.

    Attributes:
        scorer: the scorer.
        recall: its mean R@1 of both ways on validation, in percent.
        fused: the same at its α without reranking.
    """

    scorer: Scorer
    recall: float
    fused: float


@dataclass(frozen=True)
class Scorers:
    """The scorers that validation chooses from.

    Attributes:
        alphas: weights of the edge branch.
        betas: weights of the late interaction.
        attention_temperature: of the late interaction.
    """

    alphas: Sequence[float]
    betas: Sequence[float] = (0.0,)
    attention_temperature: float = 0.1

    @classmethod
    def of(cls, recipe: Recipe) -> Scorers:
        """The scorers that a recipe tries. Without the loss that trains the patches none of them
        reranks."""
        tried, local = recipe.evaluation, recipe.arms.structxlip.region_chunk
        betas = tried.betas if local.weight else [0.0]
        return cls(tried.alphas, betas, local.attention_temperature)

    def embed(
        self, model: StructXLIP, store: FeatureStore, edges: View | None, split: str
    ) -> Parts:
        """The parts of a split that they read."""
        reranks, fuses = any(self.betas), any(self.alphas)
        return embed_parts(
            model,
            store,
            edges if reranks or fuses else None,
            split,
            self.attention_temperature if reranks else None,
        )

    def choose(self, *splits: Parts) -> Choice:
        """The best scorer by the mean R@1 of both ways and of all splits.

        First α is chosen, then β at that α; of equals the smallest. A model without an edge branch
        has α = β = 0.

        Args:
            splits: of one model: the validation split, or the same under several changes.
        """
        alphas = sorted(self.alphas) if splits[0].edges is not None else [0.0]
        recalls = {
            alpha: _mean_recall(split.scored(Scorer(alpha)) for split in splits) for alpha in alphas
        }
        alpha = max(recalls, key=recalls.__getitem__)
        if splits[0].local is None:
            return Choice(Scorer(alpha), recalls[alpha], recalls[alpha])
        fused = recalls[alpha]
        reranked = [split.scored(Scorer(alpha, beta=1.0)) for split in splits]
        recalls = {
            beta: _mean_recall(replace(split, beta=beta) for split in reranked)
            for beta in sorted(self.betas)
        }
        beta = max(recalls, key=recalls.__getitem__)
        return Choice(Scorer(alpha, beta), recalls[beta], fused)


def recall_at_1(split: Embeddings) -> float:
    """Mean R@1 of both ways, in percent."""
    return mean_recall(split.ranks().recall((1,)))


def _mean_recall(splits: Iterable[Embeddings]) -> float:
    return mean(map(recall_at_1, splits))


def compare(
    base: StructXLIP | None,
    vanilla: StructXLIP,
    structxlip: StructXLIP,
    store: FeatureStore,
    edges: View | None,
    *,
    scorers: Scorers,
    bootstrap_samples: int,
    seed: int,
) -> Comparison:
    """Recall of the models on the test split, and the gain over vanilla with its interval.

    ``base`` is the model before training, where that retrieves (zero-shot); None leaves it out.

    Several rows come from the model ``structxlip``: one under the scorer that validation chose,
    ``structxlip_image_only`` without the edge branch, and, where the scorer reranks,
    ``structxlip_fused``, which does not.
    """
    val, parts = (scorers.embed(structxlip, store, edges, split) for split in ("val", "test"))
    scorer, validated, validated_fused = scorers.choose(val)
    test = {
        "vanilla": embed_split(vanilla, store, None, "test", 0.0),
        "structxlip_image_only": parts.scored(Scorer()),
        "structxlip": parts.scored(scorer),
    }
    if scorer.beta:
        test["structxlip_fused"] = replace(test["structxlip"], candidates=None, beta=0.0)
    if base is not None:
        test = {"base": embed_split(base, store, None, "test", 0.0)} | test
    metrics = _measured(test, bootstrap_samples, seed)
    sharing = test["vanilla"].sharing
    strict = _measured(test, bootstrap_samples, seed, strict=True) if sharing else metrics
    for name, values in metrics.copy().items():
        metrics[name] = values | {f"strict/{key}": found for key, found in strict[name].items()}
    metrics |= {"alpha": scorer.alpha, "beta": scorer.beta}
    metrics["validation"] = {
        "vanilla": recall_at_1(embed_split(vanilla, store, None, "val", 0.0)),
        "structxlip": validated,
        "structxlip_fused": validated_fused,
    }
    metrics["test_pairs"] = len(test["vanilla"].images)
    metrics["test_captions"] = len(test["vanilla"].texts)
    metrics["test_pairs_sharing_a_caption"] = sharing
    captions, text_to_image = store.captions_of(store.rows("test"))
    metrics["strict_ceiling"] = strict_ceilings(text_to_image, store.caption_ids[captions])
    return Comparison(metrics, test)


def _measured(
    test: dict[str, Embeddings], samples: int, seed: int, *, strict: bool = False
) -> dict[str, Any]:
    """The recall of each model, and the gains over vanilla with their intervals."""
    ranks = {name: embeddings.ranks(strict=strict) for name, embeddings in test.items()}
    measured: dict[str, Any] = {name: found.metrics() for name, found in ranks.items()}
    for arm in ("structxlip", "structxlip_image_only", "structxlip_fused"):
        if arm not in test:
            continue
        name = arm.replace("structxlip", "delta")
        measured[name] = bootstrap_delta(
            ranks["vanilla"], ranks[arm], test[arm].text_to_image, samples=samples, seed=seed
        )
    return measured
