"""Reranking of found images by late interaction: chunks of a query against patches of edge maps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.captions import load_language_model, load_lexicon, structure_caption
from structxlip.config import Captions
from structxlip.errors import UserError
from structxlip.evaluation.reranking import late_interaction
from structxlip.models.towers import TextTower
from structxlip.serving.embedder import Embedder, Picture
from structxlip.serving.scoring import widened


class Reranker:
    """The late interaction of a trained model, as evaluation computes it.

    The score of an image is ``cosine + beta · late``, for the first answers of a query;
    ``reports/<dataset>/comparison.json`` has the ``beta`` that validation chose.

    Args:
        embedder: the model.

    Raises ``UserError`` for a model whose edge branch has no patches, or one of an older version.
    """

    def __init__(self, embedder: Embedder) -> None:
        directory = embedder.directory
        described = json.loads((directory / "preprocess.json").read_text())
        if not embedder.model.has_patches or "captions" not in described:
            raise UserError(
                f"{directory} cannot rerank: it needs frozen towers, an edge branch, and a "
                f"training with this version"
            )
        self.settings = Captions.model_validate(described["captions"])
        self.temperature: float = described["attention_temperature"]
        own = [directory / Path(name).name for name in self.settings.lexicons]
        names = zip(self.settings.lexicons, own, strict=True)
        try:
            self.parse = load_language_model(self.settings.language_model)
            self.lexicon = load_lexicon([file if file.is_file() else name for name, file in names])
        except ValueError as error:
            raise UserError(f"{directory} cannot rerank: {error}") from None
        self.embedder = embedder

    def chunks(self, text: str) -> NDArray[np.float32]:
        """Unit features ``[C, D]`` of the chunks of a query; of its structural caption where it has
        none."""
        return self.chunks_of([text])[0]

    @torch.inference_mode()
    def chunks_of(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        """The same of several queries, computed together."""
        how = self.settings.of_structure()
        found = [
            structure_caption(doc, lexicon=self.lexicon, **how) for doc in self.parse.pipe(texts)
        ]
        spans = [[(chunk.start, chunk.end) for chunk in one.chunks] for one in found]
        downweighted = any(weight != 1.0 for one in found for weight in one.weights)
        assert isinstance(self.embedder.text_encoder, TextTower)
        whole, parts = self.embedder.text_encoder.encode(
            [one.text for one in found],
            spans,
            [one.weights for one in found] if downweighted else None,
        )
        features = [part[part.any(axis=-1)] for part in parts]
        features = [
            part if len(part) else row[None] for part, row in zip(features, whole, strict=True)
        ]
        ends = np.cumsum([len(part) for part in features])
        return np.split(self._embed(np.concatenate(features)), ends[:-1])

    def _embed(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.embedder.model.embed_texts(torch.from_numpy(features)).numpy()

    @torch.inference_mode()
    def patches(
        self, images: Sequence[Picture], edges: Sequence[Picture | None] | None = None
    ) -> NDArray[np.float32]:
        """Unit features ``[N, P, D]`` of the patches of the edge maps of images; 0 where a map is
        without structure. Arguments and errors are those of ``Embedder.embed_images``."""
        maps = torch.from_numpy(self.embedder.read_edges(images, edges))
        return self.embedder.model.embed_patches(maps).numpy()

    @torch.inference_mode()
    def late(
        self, chunks: NDArray[np.float32], patches: NDArray[np.floating]
    ) -> NDArray[np.float32]:
        """The late interaction ``[N]`` of a query with images, in [-1, 1].

        An image without structure has the mean of the others.

        Args:
            chunks: ``[C, D]``, as ``chunks`` makes them.
            patches: ``[N, P, D]``, as ``patches`` makes them.
        """
        keys = torch.from_numpy(widened(patches))
        return late_interaction(torch.from_numpy(chunks), keys, self.temperature)
