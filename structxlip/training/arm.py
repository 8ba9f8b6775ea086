"""What an arm is trained with: its model, its batches and its loop, from the parameters."""

from __future__ import annotations

import os
import shutil

from structxlip.config import Params, StructuralLosses, Vanilla
from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.errors import UserError
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import picture_grid
from structxlip.training.batches import TrainingBatches
from structxlip.training.loop import Loop
from structxlip.training.parallel import World, spread
from structxlip.training.step import Task, composite_loss


def arm_model(
    params: Params, losses: StructuralLosses | Vanilla, store: FeatureStore
) -> StructXLIP:
    branch = getattr(losses, "losses", None)
    model = build_model(params.active.model, store, seed=params.seed, losses=branch)
    if branch == "paper":
        try:
            picture_grid(model.clip, _region_px(params))
        except ValueError as error:
            raise UserError(f"train.region_px: {error}", 2) from None
    return model


def _region_px(params: Params) -> int:
    return params.active.train.region_px or params.active.model.image_px


def arm_task(
    params: Params, losses: StructuralLosses | Vanilla, model: StructXLIP, *, gather: bool = False
) -> Task:
    loss = composite_loss(losses, model.embed_dim, gather=gather)
    return Task(model, loss, bf16=params.active.train.precision == "bf16")


def arm_loop(
    params: Params,
    losses: StructuralLosses | Vanilla,
    model: StructXLIP,
    batches: TrainingBatches,
    *,
    world: World | None = None,
) -> Loop:
    """The loop of one worker; ``model`` is changed to train as the machine is told to."""
    settings, machine, world = params.active.train, params.machine, world or World()
    task = arm_task(params, losses, model, gather=world.size > 1)
    if machine.gradient_checkpointing:
        model.checkpoint_gradients()
    if machine.compiled:
        _check_compiler()
        model.compile(options={"fallback_random": True})  # dropout as it is without
    # The edge branch has parts that only one loss reads; a SigLIP has a bias that none does.
    biased = getattr(getattr(model, "clip", None), "logit_bias", None) is not None
    all_used = not biased and (not model.has_edges or all(task.loss.weights.values()))
    return Loop(
        spread(task, world, all_used=all_used),
        batches,
        settings,
        losses,
        seed=params.seed,
        world=world,
        micro_batch_size=machine.micro_batch_size,
        loader_threads=machine.loader_threads,
    )


def arm_batches(
    params: Params,
    losses: StructuralLosses | Vanilla,
    store: FeatureStore,
    edges: EdgeMaps | None,
    *,
    world: World | None = None,
) -> TrainingBatches:
    settings, world = params.active.train, world or World()
    crops = isinstance(losses, StructuralLosses) and losses.losses == "paper"
    crops = crops and losses.region_chunk > 0  # type: ignore[union-attr]
    return TrainingBatches(
        store,
        edges,
        batch_size=settings.batch_size,
        chunks_per_caption=settings.chunks_per_caption,
        edge_shift_px=getattr(losses, "edge_shift_px", 0),
        regions_per_image=settings.regions_per_image if crops else 0,
        crop_px=_region_px(params),
        length_window=settings.length_window,
        augmented=settings.augmentation == "light",
        seed=params.seed,
        rank=world.rank,
        workers=world.size,
    )


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        raise UserError(
            f"machine.compiled needs a C++ compiler, and {compiler} is not on the PATH; install "
            f"one, or set it to false",
            2,
        )
