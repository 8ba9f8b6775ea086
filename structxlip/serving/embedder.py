"""The embedder: a trained model, from image bytes and texts to unit embeddings."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import configured_detector, usable_map
from structxlip.data.images import decode_rgb
from structxlip.models.build import load_model

BLOCK = 64


class Embedder:
    """A trained model with its encoders and, where ``alpha`` is above 0, its edge branch.

    Args:
        directory: a folder that the stage `train` wrote.
        alpha: weight of the fused edge branch; 0 uses the image alone.

    Raises ``UserError`` for a folder that holds no model.
    """

    def __init__(self, directory: Path, alpha: float) -> None:
        self.model = load_model(directory)
        described = json.loads((directory / "preprocess.json").read_text())
        self.edges = Edges.model_validate(described["edges"])
        if self.edges.weights:
            weights = directory / Path(self.edges.weights).name
            self.edges = self.edges.model_copy(update={"weights": str(weights)})
        self.detect = configured_detector(self.edges) if alpha else None
        self.alpha = alpha
        self.image_encoder, self.text_encoder = self.model.encoders()

    def embed_images(self, encoded: Sequence[bytes]) -> NDArray[np.float32]:
        """Unit embeddings ``[N, D]`` of encoded images; raises ``BadImage`` for other bytes."""
        blocks = [encoded[i : i + BLOCK] for i in range(0, len(encoded), BLOCK)]
        return np.concatenate([self._embed_block(block) for block in blocks])

    def _embed_block(self, encoded: Sequence[bytes]) -> NDArray[np.float32]:
        pixels = [decode_rgb(data) for data in encoded]
        features = torch.from_numpy(self.image_encoder.encode(pixels))
        maps = None
        if self.detect is not None:
            edges = map(self.detect, pixels)
            # A map without structure adds nothing, as in evaluation.
            usable = [found * usable_map(found, self.edges) for found in edges]
            maps = torch.from_numpy(np.stack(usable)[:, None].astype(np.float32))
        return self.model.embed_images(features, maps, self.alpha).numpy()

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings ``[M, D]`` of texts."""
        read, _ = self.text_encoder.encode(texts)
        blocks = torch.from_numpy(read).split(BLOCK)
        return np.concatenate([self.model.embed_texts(block).numpy() for block in blocks])
