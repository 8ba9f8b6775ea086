"""What an arm is trained with: its model, its batches and its loop, from the parameters."""

from __future__ import annotations

from typing import Any

import torch

from structxlip.config import Params, StructuralLosses, Vanilla
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.training.batches import TrainingBatches
from structxlip.training.loop import Loop, Task, composite_loss


def arm_model(
    params: Params, losses: StructuralLosses | Vanilla, store: FeatureStore
) -> StructXLIP:
    branch = getattr(losses, "losses", None)
    return build_model(params.active.model, store, seed=params.seed, losses=branch)


def arm_loop(
    params: Params,
    losses: StructuralLosses | Vanilla,
    model: StructXLIP,
    batches: TrainingBatches,
    *,
    rank: int = 0,
    workers: int = 1,
    device: torch.device | None = None,
) -> Loop:
    settings = params.active.train
    task = Task(
        model,
        composite_loss(losses, model.embed_dim, gather=workers > 1),
        bf16=settings.precision == "bf16",
    )
    task.to(device or torch.device("cpu"))
    trained: Any = task
    if workers > 1:
        trained = torch.nn.parallel.DistributedDataParallel(
            task,
            find_unused_parameters=True,  # of a loss with weight 0, or SigLIP's bias
        )
    return Loop(trained, batches, settings, losses, seed=params.seed, rank=rank, device=device)


def arm_batches(
    params: Params,
    losses: StructuralLosses | Vanilla,
    store: FeatureStore,
    edges: EdgeMaps | None,
    *,
    rank: int = 0,
    workers: int = 1,
) -> TrainingBatches:
    settings = params.active.train
    crops = isinstance(losses, StructuralLosses) and losses.losses == "paper"
    crops = crops and losses.region_chunk > 0  # type: ignore[union-attr]
    return TrainingBatches(
        store,
        edges,
        batch_size=settings.batch_size,
        chunks_per_caption=settings.chunks_per_caption,
        edge_shift_px=getattr(losses, "edge_shift_px", 0),
        regions_per_image=settings.regions_per_image if crops else 0,
        crop_px=params.active.model.image_px,
        seed=params.seed,
        rank=rank,
        workers=workers,
    )
