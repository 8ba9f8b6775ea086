"""The contestants of `training.py`: steps and loading of this project, and of other code.

Each function makes a contestant in the process in which it will run. Heavy imports wait until then.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from duel import Contestant, Work
from projects import Project
from structxlip.config import Arm

if TYPE_CHECKING:
    import torch

    from straightforward import Sample, Views
    from structxlip.losses import Features
    from structxlip.models.structxlip import Batch
    from structxlip.training.assembly import Training

END_OF_TEXT = 49407
LONG_TEXT = 248  # tokens


class FirstEpoch:
    """The batches of the first epoch of a training, over and over."""

    def __init__(self, training: Training) -> None:
        self.batches = training.batches
        self.rows = self.batches.epoch(0)

    def step(self, number: int) -> int:
        """The step within the epoch of a number that may be beyond its end."""
        return number % len(self.rows)

    def batch(self, number: int) -> Batch:
        step = self.step(number)
        return self.batches.batch(self.rows[step], 0, step)


def our_steps(
    project: Project, arm: Arm, *, loads: bool = True, full_texts: bool = False
) -> Contestant:
    """Training steps of this project.

    Args:
        project: the data and the parameters.
        arm: which is trained.
        loads: whether the time of a step includes the making of its batch.
        full_texts: replace the padding of captions, so that none is shorter than the model reads.
    """
    from structxlip.training.assembly import assemble

    training = assemble(project.run(arm))
    epoch = FirstEpoch(training)

    def batch(number: int) -> Batch:
        found = epoch.batch(number)
        if full_texts:
            found["caption"][found["caption"] == 0] = END_OF_TEXT
        return found

    def contestant(number: int) -> Work:
        step = epoch.step(number)
        if loads:
            return lambda: training.loop.step(batch(number), 0, step)
        ready = batch(number)
        return lambda: training.loop.step(ready, 0, step)

    return contestant


def our_loading(project: Project, arm: Arm) -> Contestant:
    """The making of the batches of this project, without a step."""
    from structxlip.training.assembly import assemble

    epoch = FirstEpoch(assemble(project.run(arm)))
    return _without_values(epoch.batch)


def edge_encoder(project: Project) -> Contestant:
    """The forward and backward pass of the edge encoder alone, on the maps of our batches."""
    import torch

    from structxlip.models.edge_encoder import EdgeEncoder
    from structxlip.training.assembly import assemble

    training = assemble(project.run("structxlip"))
    epoch, encoder = FirstEpoch(training), training.model.edge_encoder
    assert isinstance(encoder, EdgeEncoder)

    def work(maps: torch.Tensor, upstream: list[torch.Tensor]) -> dict[str, float]:
        encoder.zero_grad()
        torch.autograd.backward(encoder(maps), upstream)
        return {}

    def contestant(number: int) -> Work:
        maps = epoch.batch(number)["edges"]
        with torch.no_grad():
            upstream = [torch.randn_like(features) for features in encoder(maps)]
        return partial(work, maps, upstream)

    return contestant


def straightforward_paper(project: Project, file: Path, clip: dict[str, Any]) -> Contestant:
    """Training steps of the recipe `paper`, written straight from its formulas."""
    import torch

    from straightforward import StraightTraining, random_clip

    params = project.params
    run = project.run("structxlip")
    settings, arm = run.train, run.arm_settings
    torch.manual_seed(params.seed)
    read, steps_per_epoch = _plain_reader(project, file)
    training = StraightTraining(
        random_clip(clip, LONG_TEXT),
        {"clip_loss": 1.0} | {f"{name}_loss": weight for name, weight in arm.weights.items()},
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        steps=settings.epochs * steps_per_epoch,
        bf16=settings.precision == "bf16",
    )
    return lambda number: lambda: training.step(read(number), number)


def straightforward_loading(project: Project, file: Path) -> Contestant:
    """The reading of the same batches from image files, without a step."""
    read, _ = _plain_reader(project, file)
    return _without_values(read)


def _plain_reader(project: Project, file: Path) -> tuple[Callable[[int], list[Sample]], int]:
    """A function that reads the pairs of a batch from their files, and the steps of an epoch."""
    from straightforward import Samples

    pairs, _ = project.batches()
    samples = Samples(file, project.params.recipe_settings.model.image_px, LONG_TEXT)

    def read(number: int) -> list[Sample]:
        return [samples[pair] for pair in pairs[number % len(pairs)]]

    return read, len(pairs)


def _without_values(function: Callable[[int], object]) -> Contestant:
    def work(number: int) -> dict[str, float]:
        function(number)
        return {}

    return lambda number: partial(work, number)


def open_clip_training(project: Project, *, full_texts: bool) -> Contestant:
    """The training of the package ``open_clip_train``; each step is an epoch of one batch.

    Its pixels are standardised beforehand, outside of the time that is measured.
    """
    import open_clip
    import torch
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    from structxlip.features.store import FeatureStore
    from structxlip.models.towers import Standardise

    params = project.params
    settings = project.run("vanilla").train
    store, (pairs, captions) = FeatureStore(project.data / "features"), project.batches()
    torch.manual_seed(params.seed)
    config = Path(params.recipe_settings.model.image_tower.removeprefix("open_clip:"))
    open_clip.add_model_config(config)
    model = open_clip.create_model(config.stem, output_dict=True, require_pretrained=False)
    groups: list[dict[str, Any]] = [  # as open_clip_train groups them
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        {"params": [p for p in model.parameters() if p.ndim >= 2]},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = cosine_lr(optimizer, settings.learning_rate, 0, settings.epochs * len(pairs))
    loss = open_clip.ClipLoss()
    arguments = SimpleNamespace(
        device="cpu",
        precision="amp_bf16" if settings.precision == "bf16" else "fp32",
        accum_freq=1,
        batch_size=settings.batch_size,
        distill=False,
        distributed=False,
        grad_clip_norm=None,
        horovod=False,
        local_rank=0,
        log_every_n_steps=1,
        rank=0,
        skip_scheduler=False,
        wandb=False,
        world_size=1,
    )
    standardise = Standardise(model.visual.image_mean, model.visual.image_std)

    class OneBatch(list[Any]):
        """A loader of a single batch."""

        num_batches, num_samples = 1, settings.batch_size

    def work(loaders: Any, number: int) -> dict[str, float]:
        train_one_epoch(model, loaders, loss, number, optimizer, None, schedule, None, arguments)
        return {}

    def contestant(number: int) -> Work:
        step = number % len(pairs)
        pixels = torch.from_numpy(store.image[pairs[step]])
        texts = torch.from_numpy(store.caption[captions[step]]).long()
        if full_texts:
            texts[texts == 0] = END_OF_TEXT
        loader = OneBatch([(standardise(pixels).contiguous(), texts)])
        loaders = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
        return lambda: work(loaders, number)

    return contestant


def agreement(project: Project) -> Contestant:
    """The losses of this project on four pairs in fp32, and their differences from the formulas.

    The formulas are applied twice: to the same features, and with the same weights to the same
    pixels and tokens.
    """
    import torch

    from straightforward import encode, losses
    from structxlip.models.hf import to_hf_clip
    from structxlip.training.assembly import assemble

    training = assemble(project.run("structxlip"))
    task = training.loop.local_task
    model, loss = task.model.eval(), task.loss
    tensors = cast("dict[str, torch.Tensor]", FirstEpoch(training).batch(0))
    batch = cast("Batch", {name: value[:4] for name, value in tensors.items()})
    # A pair without structure, one without chunks, and two that share a caption.
    batch["has_structure"][0] = False
    batch["chunk_mask"][1] = False
    batch["group_ids"][3] = batch["group_ids"][2]

    def work() -> dict[str, float]:
        with torch.no_grad():
            features = model(batch)
            ours = loss(features)
            same_features = losses(_as_views(batch, features))
            views = encode(to_hf_clip(model.clip), _as_samples(batch, model.standardise))
            same_weights = losses(views)
        found = {}
        for name, value in ours.items():
            if name != "loss":
                found[name] = float(value)
                found[f"{name}, same features"] = float((same_features[name] - value).abs())
                found[f"{name}, same weights"] = float((same_weights[name] - value).abs())
        return found

    return lambda number: work


def _as_samples(batch: Batch, standardise: Any) -> list[Sample]:
    """The pairs of a batch, each on its own, as the straightforward form reads them."""
    from straightforward import Sample

    images, edges = standardise(batch["image"]), standardise(batch["edges"])
    return [
        Sample(
            image=images[i],
            edges=edges[i],
            crops=list(standardise(batch["regions"][i][batch["region_mask"][i]])),
            caption=batch["caption"][i].long(),
            structure=batch["structure"][i].long(),
            chunks=batch["chunks"][i][batch["chunk_mask"][i]].tolist(),
            has_structure=bool(batch["has_structure"][i]),
            group=int(batch["group_ids"][i]),
        )
        for i in range(len(images))
    ]


def _as_views(batch: Batch, features: Features) -> Views:
    """The features of a batch as the straightforward losses read them."""
    from straightforward import Views

    rows = range(len(batch["image"]))
    regions = batch["region_mask"] & batch["has_structure"][:, None]
    return Views(
        images=features["image_features"],
        texts=features["text_features"],
        edges=features["edge_features"],
        structures=features["structure_features"],
        chunks=[features["chunk_features"][i][batch["chunk_mask"][i]] for i in rows],
        regions=[features["region_features"][i][regions[i]] for i in rows],
        scale=features["logit_scale"],
        has_structure=batch["has_structure"].tolist(),
        groups=batch["group_ids"],
    )
