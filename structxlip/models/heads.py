"""StructXLIP on frozen towers: projection heads, an edge encoder and the logit scale."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from structxlip.errors import UserError
from structxlip.losses import Features
from structxlip.models.cells_encoder import CellsEncoder
from structxlip.models.edge_branch import MapReader, edge_encoder
from structxlip.models.edge_encoder import EdgeEncoder
from structxlip.models.projection import ProjectionHead, TowerBranch
from structxlip.models.structxlip import Batch, StructXLIP, read_weights, write_model
from structxlip.models.towers import (
    ImageTower,
    Pixels,
    TextTower,
    Tokens,
    at_folder,
    carry_towers,
    load_encoders,
)

Branch = Literal["cnn", "descriptor", "image_tower", "second_head"]


@dataclass(frozen=True)
class HeadsConfig:
    """The configuration from which the model is rebuilt; saved beside its weights."""

    image_tower: str
    text_tower: str
    image_px: int
    max_tokens: int | None
    image_dim: int
    text_dim: int
    embed_dim: int
    hidden_dim: int
    dropout: float
    aligned: bool  # the towers share a space already: the heads start as the identity
    # What the second branch is: an edge branch, or, as a control, a second head on the features of
    # the image tower. None: there is none.
    edges: Branch | None
    edge_channels: int = 1  # of a map
    tower_grid: int | None = None  # of the patches that the branch image_tower reads
    trained: str = "heads"


class HeadsOnTowers(StructXLIP):
    """The trained part of the recipe `frozen`: heads on the cached features of frozen towers."""

    def __init__(self, config: HeadsConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_dim, self.has_edges = config.embed_dim, config.edges is not None
        if config.aligned and not config.image_dim == config.text_dim == config.embed_dim:
            raise UserError(
                f"aligned towers keep their embedding size; set model.embed_dim to "
                f"{config.image_dim}",
                2,
            )

        def head(in_dim: int) -> ProjectionHead:
            return ProjectionHead(
                in_dim,
                config.embed_dim,
                config.hidden_dim,
                config.dropout,
                residual=config.aligned,
            )

        self.image_head, self.text_head = head(config.image_dim), head(config.text_dim)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        self.edge_encoder: EdgeEncoder | CellsEncoder | TowerBranch | ProjectionHead | None = None
        if config.edges == "second_head":
            self.edge_encoder = head(config.image_dim)
        elif config.edges == "image_tower":
            self.edge_encoder = TowerBranch(
                config.image_dim,
                config.embed_dim,
                config.hidden_dim,
                config.dropout,
                residual=config.aligned,
            )
        elif config.edges:
            self.edge_encoder = edge_encoder(config.edges, config.embed_dim, config.edge_channels)

    def forward(self, batch: Batch) -> Features:
        features = Features(
            image_features=self.image_head(batch["image"]),
            text_features=self.text_head(batch["caption"]),
            logit_scale=self.logit_scale.exp(),
            group_ids=batch["group_ids"],
        )
        if self.has_edges:
            edge_features, patch_features = self._branch(batch["edges"])
            if patch_features is not None:
                features |= Features(patch_features=patch_features)
            features |= Features(
                edge_features=edge_features,
                structure_features=self.text_head(batch["structure"]),
                chunk_features=self.text_head(batch["chunks"]),
                chunk_mask=batch["chunk_mask"],
                has_structure=batch["has_structure"],
            )
        return features

    def image_features(self, images: Tensor) -> Tensor:
        return self.image_head(images)

    def text_features(self, texts: Tensor) -> Tensor:
        return self.text_head(texts)

    def edge_features(self, edges: Tensor) -> Tensor:
        return self._branch(edges)[0]

    @property
    def has_patches(self) -> bool:
        return self.has_edges and not isinstance(self.edge_encoder, ProjectionHead)

    def patch_features(self, edges: Tensor) -> Tensor:
        patches = self._branch(edges)[1]
        assert patches is not None, "a second head has no patches"
        return patches

    def map_reader(self, images: ImageTower | Pixels) -> MapReader:
        if self.config.tower_grid is None:
            return MapReader(None)
        assert isinstance(images, ImageTower)
        return MapReader(images, self.config.tower_grid)

    def _branch(self, edges: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features ``[N, D]`` of the second branch, and its patches ``[N, P, D]`` if any."""
        assert self.edge_encoder is not None, "this model has no second branch"
        if isinstance(self.edge_encoder, ProjectionHead):
            return self.edge_encoder(edges), None
        features, patches = self.edge_encoder(edges)
        return features, patches

    def encoders(self) -> tuple[ImageTower | Pixels, TextTower | Tokens]:
        names = self.config.image_tower, self.config.text_tower
        return load_encoders(*names, self.config.image_px, self.config.max_tokens, frozen=True)

    def save(self, directory: Path) -> None:
        """Write the folder, with the files of towers that are named by a file: it can be moved."""
        names = {"image_tower": self.config.image_tower, "text_tower": self.config.text_tower}
        write_model(
            directory, asdict(self.config) | carry_towers(names, directory), self.state_dict()
        )

    @classmethod
    def load(cls, directory: Path, config: dict[str, Any]) -> HeadsOnTowers:
        """The model that was saved; see ``load_model``."""
        sides = {"image_tower", "text_tower"} & config.keys()
        names: dict[str, str | None] = {side: at_folder(config[side], directory) for side in sides}
        if isinstance(config.get("edges"), bool):  # a model of version 0.1
            names["edges"] = "cnn" if config["edges"] else None
        model = cls(HeadsConfig(**config | names))
        read_weights(model, directory / "model.safetensors")
        return model.eval()
