"""StructXLIP as a CLIP that is trained itself, from pixels and tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from structxlip.errors import UserError
from structxlip.losses import Features
from structxlip.models.edge_branch import edge_encoder
from structxlip.models.freezing import Trained, train_only
from structxlip.models.structxlip import (
    Batch,
    StructXLIP,
    read_weights,
    write_config,
    write_weights,
)
from structxlip.models.towers import (
    ImageTower,
    LoadedClip,
    Pixels,
    Standardise,
    TextTower,
    Tokens,
    encode_images,
    encode_tokens,
    load_clip,
    open_clip_cfg,
    pool_spans,
    project_tokens,
)
from structxlip.models.weights import interpolate_weights


@dataclass(frozen=True)
class TunedClipConfig:
    """The configuration from which the model is rebuilt; saved beside its weights."""

    image_tower: str
    text_tower: str
    image_px: int
    max_tokens: int | None
    trained: Trained
    lora_rank: int
    # What reads edge maps; None for no edge branch.
    edges: Literal["cnn", "descriptor", "image_tower"] | None
    edge_channels: int = 1  # of a map


class TunedClip(StructXLIP):
    """A CLIP model of open_clip, all or a part of it trained.

    With ``edges`` "image_tower" edge maps and their crops go through the
    image tower as images of three equal channels, in one call with the images; crops of another
    size have a call of their own. With "cnn" and "descriptor" a separate edge encoder gives an
    embedding and patches.

    Args:
        loaded: the model that it starts from, which is changed.

    Raises:
        UserError: a model that cannot be trained in the way that ``config`` says.
    """

    def __init__(self, config: TunedClipConfig, loaded: LoadedClip) -> None:
        super().__init__()
        self.config, self.loaded = config, loaded
        visual = loaded.model.visual
        self.standardise = Standardise(visual.image_mean, visual.image_std)
        try:
            self.clip: Any = train_only(loaded.model, config.trained, lora_rank=config.lora_rank)
        except ValueError as error:
            raise UserError(f"model.trained: {error}", 2) from None
        _drop_nothing(self.clip)
        self.logit_scale = loaded.model.logit_scale
        self.embed_dim = loaded.cfg["embed_dim"]
        self.has_edges = config.edges is not None
        if config.edges == "cnn" or config.edges == "descriptor":
            self.edge_encoder = edge_encoder(config.edges, self.embed_dim, config.edge_channels)

    def forward(self, batch: Batch) -> Features:
        count = len(batch["image"])
        pictures = [self.standardise(batch["image"])]
        texts = [batch["caption"]]
        if self.config.edges == "image_tower":
            pictures.append(self._as_images(batch["edges"]))
            if "regions" in batch and not self._crops_apart(batch):
                pictures.append(self.standardise(batch["regions"][batch["region_mask"]]))
        if self.has_edges:
            texts.append(batch["structure"])
        seen = self.clip.encode_image(torch.cat(pictures))
        read, tokens = encode_tokens(self.clip, torch.cat(texts))
        features = Features(
            image_features=seen[:count],
            text_features=read[:count],
            logit_scale=self.logit_scale.exp(),
            group_ids=batch["group_ids"],
        )
        if self.has_edges:
            features |= Features(
                structure_features=read[count:],
                chunk_features=self._chunks(tokens[count:], batch["chunks"]),
                chunk_mask=batch["chunk_mask"],
                has_structure=batch["has_structure"],
            )
        if self.has_own_encoder:
            edge_features, patches = self.edge_encoder(batch["edges"])
            features |= Features(edge_features=edge_features, patch_features=patches)
        elif self.has_edges:
            features |= Features(edge_features=seen[count : 2 * count])
            if "regions" in batch:  # else no loss needs them
                features |= self._regions(batch, seen[2 * count :])
        return features

    @property
    def has_own_encoder(self) -> bool:
        """Whether edge maps are read by an encoder that reads nothing else."""
        return self.config.edges in ("cnn", "descriptor")

    def _crops_apart(self, batch: Batch) -> bool:
        """Whether crops have another size than the images, and so a call of their own."""
        return batch["regions"].shape[-1] != self.config.image_px

    def _regions(self, batch: Batch, seen: Tensor) -> Features:
        """``seen``: the features ``[n, D]`` of the crops, unless they are read apart."""
        mask = batch["region_mask"]
        regions = seen.new_zeros(*mask.shape, seen.shape[-1])
        regions[mask] = self._crop_features(batch) if self._crops_apart(batch) else seen
        return Features(region_features=regions, region_mask=mask)

    def _crop_features(self, batch: Batch) -> Tensor:
        """Features ``[n, D]`` of the crops, in a call of their own.

        Where there is no crop, one is read all the same: workers wait for each other in every block
        of a sharded model, and in the graph of the losses.
        """
        crops, count = batch["regions"][batch["region_mask"]], int(batch["region_mask"].sum())
        if not count:
            crops = batch["regions"][:1, 0]
        return encode_images(self.loaded.model, self.standardise(crops))[:count]

    def _chunks(self, tokens: Tensor, spans: Tensor) -> Tensor:
        """Features ``[N, C, D]`` of chunks, the tokens [first, last) ``[N, C, 2]``."""
        place = torch.arange(tokens.shape[1], device=tokens.device)
        first, last = spans[..., :1], spans[..., 1:]
        return project_tokens(self.clip, pool_spans(tokens, (first <= place) & (place < last)))

    def _as_images(self, maps: Tensor) -> Tensor:
        """Edge maps ``[n, 1, E, E]`` as inputs of the image tower, ``[n, 3, S, S]``."""
        if maps.shape[-1] != self.config.image_px:
            size = (self.config.image_px, self.config.image_px)
            maps = interpolate(maps, size, mode="bilinear", antialias=True)
        return self.standardise(maps)

    def checkpoint_gradients(self) -> None:
        self.loaded.model.set_grad_checkpointing(True)

    def image_features(self, images: Tensor) -> Tensor:
        features: Tensor = self.clip.encode_image(self.standardise(images))
        return features

    def text_features(self, texts: Tensor) -> Tensor:
        return encode_tokens(self.clip, texts)[0]

    def edge_features(self, edges: Tensor) -> Tensor:
        if self.has_own_encoder:
            return self.edge_encoder(edges)[0]
        features: Tensor = self.clip.encode_image(self._as_images(edges))
        return features

    def encoders(self) -> tuple[ImageTower | Pixels, TextTower | Tokens]:
        return Pixels(self.config.image_px), Tokens(self.loaded.tokenizer)

    def prepare_export(self, untrained: Callable[[], StructXLIP], tuned_share: float) -> None:
        """Fold low-rank updates into the weights, and interpolate between the first and the
        trained weights (WiSE-FT). The edge CNN has no pretrained weights and stays as trained."""
        self.clip = self._folded()
        if tuned_share < 1:
            before = untrained()
            assert isinstance(before, TunedClip)
            states = before._folded().state_dict(), self.clip.state_dict()
            self.clip.load_state_dict(interpolate_weights(*states, tuned_share))

    def _folded(self) -> Any:
        return self.clip.merge_and_unload() if self.config.trained == "lora" else self.clip

    def save(self, directory: Path) -> None:
        """Write the folder; without an edge encoder it is open_clip's ``local-dir:FOLDER`` too."""
        self.save_clip(directory)
        write_config(directory, asdict(self.config))
        if self.has_own_encoder:
            write_weights(self.edge_encoder.state_dict(), directory / "edge_encoder.safetensors")

    def save_clip(self, directory: Path) -> None:
        """Write the CLIP alone, with its tokenizer: open_clip's ``local-dir:FOLDER``."""
        write_weights(self.clip.state_dict(), directory / "model.safetensors")
        described = json.dumps(open_clip_cfg(self.loaded), indent=2)
        (directory / "open_clip_config.json").write_text(described + "\n")
        if hasattr(self.loaded.tokenizer, "save_pretrained"):  # open_clip carries the other one
            self.loaded.tokenizer.save_pretrained(directory)

    @classmethod
    def load(cls, directory: Path, config: dict[str, Any]) -> TunedClip:
        """The model that was saved; see ``load_model``."""
        settings = TunedClipConfig(**config | {"trained": "all"})
        model = cls(settings, load_clip(f"open_clip:local-dir:{directory}", settings.max_tokens))
        if model.has_own_encoder:
            read_weights(model.edge_encoder, directory / "edge_encoder.safetensors")
        return model.eval()


def _drop_nothing(clip: nn.Module) -> None:
    """Turn off the dropout of encoders of transformers. It depends on how a batch is split, and so
    the result would depend on the number of workers."""
    for module in clip.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in {"dropout", "attention_dropout", "dropout_prob"} & vars(module).keys():
            if isinstance(vars(module)[name], float):
                setattr(module, name, 0.0)
