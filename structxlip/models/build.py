"""Models by their parameters, and from the folder that they were saved in."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from structxlip.config import EdgeBranch, Model
from structxlip.cues import check_reads
from structxlip.errors import UserError
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.heads import Branch, HeadsConfig, HeadsOnTowers
from structxlip.models.projection import ProjectionHead, TowerBranch
from structxlip.models.structxlip import StructXLIP, read_config
from structxlip.models.towers import is_aligned, load_clip
from structxlip.models.tuned_clip import TunedClip, TunedClipConfig

# Edge maps from which the statistics of their features are taken: more change nothing.
MEASURED = 2000


def build_model(
    settings: Model,
    store: FeatureStore,
    *,
    seed: int,
    edge_branch: EdgeBranch | None,
    view: View | None = None,
    second_head: bool = False,
) -> StructXLIP:
    """The untrained model for the rows of a feature store.

    Args:
        settings: the towers, and what of them is trained.
        store: the features, pixels or tokens that the model reads.
        seed: of random weights.
        edge_branch: what reads the edge maps; None for a model that reads none. The branch is
            built last, so that the other weights start alike with and without it.
        view: the edge maps, as the branch reads them; None for maps of one channel.
        second_head: the branch is a second head on the features of the image tower, as a control.

    Raises ``UserError`` for features of other parameters, edge maps that the branch does not read,
    or a model that cannot be had.
    """
    branch = None if edge_branch == "none" else edge_branch
    edge_channels = view.channels if view else 1
    if branch and not second_head:
        try:
            check_reads(branch, edge_channels)
        except ValueError as error:
            raise UserError(f"arms.structxlip: {error}", 2) from None
    if store.spec.encoders != settings.encoder_settings():
        raise UserError("the features were made with other towers; run `dvc repro`")
    if store.spec.copies != settings.colour_copies:
        raise UserError("the features have other colour_copies; run `dvc repro`")
    torch.manual_seed(seed)
    if settings.frozen:
        return _heads(settings, store, "second_head" if second_head else branch, view)
    if second_head:
        raise UserError("the control `image` needs frozen towers", 2)
    config = TunedClipConfig(
        image_tower=settings.image_tower,
        text_tower=settings.text_tower,
        image_px=settings.image_px,
        max_tokens=settings.max_tokens,
        trained=settings.trained,
        lora_rank=settings.lora_rank,
        edges=branch,
        edge_channels=edge_channels,
    )
    return TunedClip(config, load_clip(settings.image_tower, settings.max_tokens, seed))


def _heads(
    settings: Model,
    store: FeatureStore,
    edges: Branch | None,
    view: View | None,
) -> HeadsOnTowers:
    rows = store.rows("train")
    of_maps = None
    if edges == "image_tower":
        assert view is not None, "the branch image_tower needs the features of its edge maps"
        of_maps = torch.from_numpy(view.maps(rows[:: math.ceil(len(rows) / MEASURED)]))
    model = HeadsOnTowers(
        HeadsConfig(
            image_tower=settings.image_tower,
            text_tower=settings.text_tower,
            image_px=settings.image_px,
            max_tokens=settings.max_tokens,
            image_dim=store.image.shape[1],
            text_dim=store.caption.shape[1],
            embed_dim=settings.embed_dim,
            hidden_dim=settings.hidden_dim,
            dropout=settings.dropout,
            aligned=is_aligned(settings.image_tower, settings.text_tower),
            edges=edges,
            edge_channels=view.channels if view else 1,
            tower_grid=None if of_maps is None else math.isqrt(of_maps.shape[1]),
        )
    )
    if isinstance(model.edge_encoder, TowerBranch):
        assert of_maps is not None
        model.edge_encoder.set_statistics(of_maps)
    captions, _ = store.captions_of(rows)
    heads = [(model.image_head, store.image[rows]), (model.text_head, store.caption[captions])]
    if isinstance(model.edge_encoder, ProjectionHead):
        heads.append((model.edge_encoder, store.image[rows]))
    for head, features in heads:
        head.set_statistics(
            torch.from_numpy(features.mean(axis=0)), torch.from_numpy(features.std(axis=0))
        )
    return model


def load_model(directory: Path) -> StructXLIP:
    """The model in a folder that ``StructXLIP.save`` wrote, in evaluation mode.

    Raises ``UserError`` that names a missing file, or missing and unexpected weights.
    """
    config = read_config(directory)
    kind = HeadsOnTowers if config.get("trained") == "heads" else TunedClip
    try:
        return kind.load(directory, config)
    except TypeError as error:
        raise UserError(f"{directory} holds no StructXLIP model ({error})") from None
