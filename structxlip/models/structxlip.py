"""The interface of all StructXLIP models: features for losses, embeddings for retrieval."""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from structxlip.errors import UserError
from structxlip.losses import Features
from structxlip.models.edge_branch import MapReader
from structxlip.models.state_dicts import load_strictly, read_tensors
from structxlip.models.towers import ImageTower, Pixels, TextTower, Tokens

MAX_LOG_SCALE = math.log(100)


class Batch(TypedDict, total=False):
    """``N`` pairs as a feature store holds them; the structural part may be absent.

    For frozen towers, images are features ``[N, Di]``, texts ``[N, Dt]`` and chunks
    ``[N, C, Dt]``. For a CLIP that is trained, images are ``uint8 [N, S, S, 3]``, texts are tokens
    ``[N, L]``, and chunks are the tokens [first, last), ``[N, C, 2]``.
    """

    image: Tensor
    caption: Tensor
    group_ids: Tensor  # integer [N]
    structure: Tensor  # like caption
    chunks: Tensor
    chunk_mask: Tensor  # boolean [N, C]
    edges: Tensor  # what ``StructXLIP.map_reader`` makes of edge maps
    has_structure: Tensor  # boolean [N]
    regions: Tensor  # [N, K, 1, S, S] in [0, 1], crops of edge maps
    region_mask: Tensor  # boolean [N, K]


class StructXLIP(nn.Module, ABC):
    """A model of images and texts with, where ``has_edges``, a branch for edge maps.

    ``logit_scale`` is the logarithm of the multiplier; ``embed_dim`` the size ``D``.
    """

    logit_scale: Tensor
    embed_dim: int
    has_edges: bool

    @abstractmethod
    def forward(self, batch: Batch) -> Features:
        """The features of a batch that ``CompositeLoss`` reads."""

    @abstractmethod
    def image_features(self, images: Tensor) -> Tensor:
        """``[N, D]``, not normalised."""

    @abstractmethod
    def text_features(self, texts: Tensor) -> Tensor:
        """``[M, D]``, not normalised."""

    @abstractmethod
    def edge_features(self, edges: Tensor) -> Tensor:
        """``[N, D]`` of what ``map_reader`` makes of edge maps, not normalised."""

    @property
    def has_patches(self) -> bool:
        """Whether the edge branch has patches, and chunks are features of their own."""
        return False

    def patch_features(self, edges: Tensor) -> Tensor:
        """``[N, P, D]`` of the patches of what ``map_reader`` makes of edge maps, not normalised;
        only where ``has_patches``."""
        raise NotImplementedError("this model has no patches")

    def map_reader(self, images: ImageTower | Pixels) -> MapReader:
        """A function from edge maps to the inputs of the edge branch.

        Args:
            images: the image encoder of this model, which the branch may use to read the maps.
        """
        return MapReader(None)

    @abstractmethod
    def save(self, directory: Path) -> None:
        """Write the weights, and ``config.json``, which ``load_model`` reads."""

    @abstractmethod
    def encoders(self) -> tuple[ImageTower | Pixels, TextTower | Tokens]:
        """The encoders that turn images and texts into the inputs of this model."""

    def checkpoint_gradients(self) -> None:
        """Compute activations of the towers again in the backward pass instead of keeping them.
        Heads on frozen towers have nothing to save."""

    def prepare_export(self, untrained: Callable[[], StructXLIP], tuned_share: float) -> None:
        """Turn trained weights into those that are exported.

        Args:
            untrained: builds the model as it was before the training.
            tuned_share: how far the exported weights lie from the first to the trained ones.
        """

    @torch.no_grad()
    def clamp_logit_scale(self) -> None:
        """Keep the multiplier at 100 or below, as CLIP does."""
        self.logit_scale.clamp_(max=MAX_LOG_SCALE)

    @torch.inference_mode()
    def embed_images(self, images: Tensor, edges: Tensor | None, alpha: float) -> Tensor:
        """Unit embeddings ``normalise(v + alpha·e)``, ``[N, D]``; ``alpha`` 0 is plain CLIP.

        ``edges``: as ``edge_features`` takes them, needed when ``alpha`` is not 0; those that are
        all 0 add nothing.
        """
        embeddings = normalize(self.image_features(images), dim=-1)
        if alpha:
            assert edges is not None, "the edge branch needs edge maps"
            embeddings = fused(embeddings, self.embed_edges(edges), alpha)
        return embeddings

    @torch.inference_mode()
    def embed_edges(self, edges: Tensor) -> Tensor:
        """Unit embeddings ``[N, D]`` of edge maps, as ``edge_features`` takes them; 0 where a map
        is all 0."""
        present = edges.flatten(1).any(dim=1)[:, None]
        return present * normalize(self.edge_features(edges), dim=-1)

    @torch.inference_mode()
    def embed_patches(self, edges: Tensor) -> Tensor:
        """Unit features ``[N, P, D]`` of the patches of edge maps; 0 where a map is all 0."""
        present = edges.flatten(1).any(dim=1)[:, None, None]
        return present * normalize(self.patch_features(edges), dim=-1)

    @torch.inference_mode()
    def embed_texts(self, texts: Tensor) -> Tensor:
        """Unit embeddings ``[M, D]``."""
        return normalize(self.text_features(texts), dim=-1)


def fused(images: Tensor, edges: Tensor, alpha: float) -> Tensor:
    """``normalise(v + alpha·e)`` of embeddings ``v`` and ``e``, both ``[N, D]``."""
    return normalize(images + alpha * edges, dim=-1)


def write_model(directory: Path, config: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write ``config.json`` and ``model.safetensors``."""
    write_weights(weights, directory / "model.safetensors")
    write_config(directory, config)


def write_config(directory: Path, config: dict[str, Any]) -> None:
    """Write ``config.json``, which ``read_config`` reads."""
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def write_weights(weights: dict[str, Tensor], file: Path) -> None:
    """Write a ``.safetensors`` file, which takes no other layout than the plain one."""
    save_file({name: value.contiguous() for name, value in weights.items()}, file)


def read_config(directory: Path) -> dict[str, Any]:
    """The ``config.json`` of a model; ``UserError`` where there is none."""
    try:
        content: dict[str, Any] = json.loads((directory / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{directory} holds no StructXLIP model ({error})") from None
    return content


def read_weights(model: nn.Module, file: Path) -> None:
    """Load a ``.safetensors`` file whole; ``UserError`` names what is missing or unexpected."""
    if not file.is_file():
        raise UserError(f"{file.parent} holds no StructXLIP model ({file.name} is missing)")
    try:
        load_strictly(model, read_tensors(file), str(file))
    except ValueError as error:
        raise UserError(f"{file} cannot be loaded: {error}") from None


def model_digest(directory: Path) -> str:
    """A hash of the weights and settings of a model: equal for copies, also in MLflow."""
    digest = hashlib.sha256()
    files = [*directory.rglob("*.safetensors"), directory / "config.json"]
    for file in sorted([*files, directory / "preprocess.json"]):
        digest.update(file.relative_to(directory).as_posix().encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
