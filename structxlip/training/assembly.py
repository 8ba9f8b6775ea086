"""The one way to put a training together: data, model, losses, batches, optimiser and loop."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from structxlip.errors import UserError
from structxlip.features import views
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.losses import CompositeLoss
from structxlip.models.build import build_model, load_model
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import patch_grid
from structxlip.models.weights import start_from
from structxlip.training.batches import TrainingBatches
from structxlip.training.loop import Loop
from structxlip.training.parallel import World, distribute
from structxlip.training.run import TrainingRun
from structxlip.training.step import Task


@dataclass(frozen=True)
class Training:
    """The parts of a training, as one worker holds them.

    Attributes:
        store: the feature store.
        view: the inputs of the second branch; None for vanilla.
        model: the model, untrained.
        batches: the global batches, and this worker's rows of them.
        loop: trains ``model`` on ``batches``.
    """

    store: FeatureStore
    view: View | None
    model: StructXLIP
    batches: TrainingBatches
    loop: Loop


def assemble(run: TrainingRun, world: World | None = None) -> Training:
    """Put the training of a run together, for one worker of ``world`` (by default the only one).

    Raises ``UserError`` for parameters that do not fit the data, the model or the machine.
    """
    world = world or World()
    machine = run.params.machine
    store = run.store()
    view = open_view(run, store)
    model = untrained_model(run, store, view)
    batches = _batches(run, store, view, world)
    task = model_with_loss(run, model, gather=world.size > 1)
    if machine.gradient_checkpointing:
        model.checkpoint_gradients()
    if machine.compiled:
        _check_compiler()
        model.compile(options={"fallback_random": True})  # the same dropout as without compiling
    loop = Loop(
        distribute(task, world, all_used=_all_used(task)),
        batches,
        run.train,
        run.arm_settings,
        seed=run.params.seed,
        world=world,
        micro_batch_size=machine.micro_batch_size,
        loader_threads=machine.loader_threads,
    )
    return Training(store, view, model, batches, loop)


def open_view(run: TrainingRun, store: FeatureStore) -> View | None:
    """The inputs of the second branch of a run; None for vanilla, which has none."""
    if not run.arm_settings.is_structural:
        return None
    return views.open_view(
        run.view,
        store,
        edges=run.edges,
        edge_features=_edge_features(run) if run.reads_with_tower else None,
        pictures=run.pictures,
        seed=run.params.seed,
    )


def _edge_features(run: TrainingRun) -> Path:
    assert run.edge_features is not None, "the branch image_tower needs the features of its maps"
    return run.edge_features


def untrained_model(run: TrainingRun, store: FeatureStore, view: View | None) -> StructXLIP:
    """The model of a run as it is before the training. ``view`` is None for vanilla."""
    recipe, arm = run.params.recipe_settings, run.arm_settings
    model = build_model(
        recipe.model,
        store,
        seed=run.params.seed,
        edge_branch=arm.edge_branch if view else None,
        view=view,
        second_head=run.view == "image" and not run.reads_with_tower,
    )
    if run.start:
        try:
            start_from(model, load_model(run.start))
        except ValueError as error:
            raise UserError(
                f"the champion cannot be started from: {error}; set train.start to base", 2
            ) from None
    if arm.needs_regions:
        try:
            patch_grid(model.clip, _region_px(run))
        except ValueError as error:
            raise UserError(f"train.region_px: {error}", 2) from None
    return model


def model_with_loss(run: TrainingRun, model: StructXLIP, *, gather: bool = False) -> Task:
    """A model with the composite loss of its arm."""
    arm = run.arm_settings
    try:
        loss = CompositeLoss(
            model.embed_dim,
            edge_text=arm.edge_text.weight,
            region_chunk=arm.region_chunk.weight,
            edge_image=arm.edge_image.weight,
            kinds={
                "edge_text": arm.edge_text.kind,
                "region_chunk": arm.region_chunk.kind,
                "edge_image": arm.edge_image.kind,
            },
            detach={name: loss.detach for name, loss in arm.structural.items()},
            attention_temperature=arm.region_chunk.attention_temperature,
            temperature=arm.region_chunk.temperature,
            extra=arm.extra_losses,
            gather=gather,
        )
    except ValueError as error:
        raise UserError(f"arms.{run.arm}: {error}", 2) from None
    return Task(model, loss, bf16=run.train.precision == "bf16")


def _batches(
    run: TrainingRun, store: FeatureStore, view: View | None, world: World
) -> TrainingBatches:
    settings, arm = run.train, run.arm_settings
    return TrainingBatches(
        store,
        view,
        batch_size=settings.batch_size,
        chunks_per_caption=settings.chunks_per_caption,
        edge_shift_px=arm.edge_shift_px,
        edge_px=run.params.recipe_settings.edges.size_px,
        regions_per_image=settings.regions_per_image if arm.needs_regions else 0,
        crop_px=_region_px(run),
        length_window=settings.length_window,
        augmented=settings.augmentation == "light",
        seed=run.params.seed,
        rank=world.rank,
        workers=world.size,
    )


def _region_px(run: TrainingRun) -> int:
    return run.train.region_px or run.params.recipe_settings.model.image_px


def _all_used(task: Task) -> bool:
    """Whether the loss depends on every parameter of the model."""
    # No loss reads the bias of a SigLIP, and some parts of the edge branch serve one loss alone.
    biased = getattr(getattr(task.model, "clip", None), "logit_bias", None) is not None
    detached = any(task.loss.detach.values())
    return not biased and (
        not task.model.has_edges or (all(task.loss.weights.values()) and not detached)
    )


def _check_compiler() -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None and shutil.which("clang++") is None:
        raise UserError(
            f"machine.compiled needs a C++ compiler, and {compiler} is not on the PATH; install "
            f"one, or set it to false",
            2,
        )
