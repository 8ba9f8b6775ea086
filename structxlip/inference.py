"""The whole model: from image bytes and texts to unit embeddings in the joint space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import edge_density, has_structure
from structxlip.data.edge_maps import encoded_detector
from structxlip.data.images import decode_rgb
from structxlip.models.build import load_model

BLOCK = 64


class Embedder:
    """A trained model, what encodes for it and, with ``alpha`` above 0, the edge branch.

    Args:
        directory: a folder that the stage `train` wrote.
        alpha: weight of the fused edge branch; 0 is plain CLIP.
    """

    def __init__(self, directory: Path, alpha: float) -> None:
        self.model = load_model(directory)
        described = json.loads((directory / "preprocess.json").read_text())
        self.edges = Edges.model_validate(described["edges"])
        if self.edges.weights:
            weights = directory / Path(self.edges.weights).name
            self.edges = self.edges.model_copy(update={"weights": str(weights)})
        self.detect = encoded_detector(self.edges) if alpha else None
        self.alpha = alpha
        self.image_encoder, self.text_encoder = self.model.encoders()

    def images(self, encoded: Sequence[bytes]) -> NDArray[np.float32]:
        """Unit embeddings ``[N, D]`` of encoded images; ``BadImage`` for what is not one."""
        blocks = [encoded[i : i + BLOCK] for i in range(0, len(encoded), BLOCK)]
        return np.concatenate([self._block(block) for block in blocks])

    def _block(self, encoded: Sequence[bytes]) -> NDArray[np.float32]:
        pixels = [decode_rgb(data) for data in encoded]
        features = torch.from_numpy(self.image_encoder.encode(pixels))
        maps = None
        if self.detect is not None:
            sides = [min(rgb.shape[:2]) for rgb in pixels]
            edges = map(self.detect, encoded, sides)
            maps = torch.from_numpy(np.stack([self._usable(found) for found in edges])[:, None])
        return self.model.embed_images(features, maps, self.alpha).numpy()

    def texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings ``[M, D]`` of texts."""
        read, _ = self.text_encoder.encode(texts)
        blocks = torch.from_numpy(read).split(BLOCK)
        return np.concatenate([self.model.embed_texts(block).numpy() for block in blocks])

    def _usable(self, edges: NDArray[np.bool_]) -> NDArray[np.float32]:
        settings = self.edges
        limits = {"min_density": settings.min_density, "max_density": settings.max_density}
        usable = has_structure(edge_density(edges), **limits)
        # A map without structure adds nothing, as in evaluation.
        return edges.astype(np.float32) * usable
