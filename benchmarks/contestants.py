"""What takes turns in `training.py`: our steps and loading, and those that they stand against."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from duel import Contestant
from projects import Project

END_OF_TEXT, LONG = 49407, 248


@dataclass
class Drawn:
    """The batches of the first epoch of an arm, over and over."""

    batches: Any
    draws: list[Any]

    def place(self, number: int) -> int:
        return number % len(self.draws)

    def batch(self, number: int) -> Any:
        place = self.place(number)
        return self.batches.batch(self.draws[place], 0, place)


def drawn(project: Project, arm: str) -> Drawn:
    from structxlip.data.feature_store import EdgeMaps, FeatureStore
    from structxlip.training.arm import arm_batches

    params = project.params
    store = FeatureStore(project.data / "features")
    edges = EdgeMaps(project.data / "edges", store.ids) if arm == "structxlip" else None
    batches = arm_batches(params, getattr(params.active.arms, arm), store, edges)
    return Drawn(batches, list(batches.epoch(0)))


def loop_of(project: Project, arm: str, data: Drawn) -> Any:
    from structxlip.training.arm import arm_loop, arm_model

    params = project.params
    losses = getattr(params.active.arms, arm)
    model = arm_model(params, losses, data.batches.store)
    return arm_loop(params, losses, model, data.batches)


def ours(project: Project, arm: str, *, loads: bool = True, full: bool = False) -> Contestant:
    """Steps of ours; with ``loads`` their batches are made in the time that is taken, and with
    ``full`` no text is shorter than the model reads."""
    data = drawn(project, arm)
    loop = loop_of(project, arm, data)

    def batch(number: int) -> Any:
        found = data.batch(number)
        if full:
            found["caption"][found["caption"] == 0] = END_OF_TEXT
        return found

    def contestant(number: int) -> Callable[[], dict[str, float]]:
        place = data.place(number)
        if loads:
            return lambda: loop.step(batch(number), 0, place)
        ready = batch(number)
        return lambda: loop.step(ready, 0, place)

    return contestant


def loading(project: Project, arm: str) -> Contestant:
    data = drawn(project, arm)

    def work(number: int) -> dict[str, float]:
        data.batch(number)
        return {}

    return lambda number: partial(work, number)


def edge_encoder(project: Project) -> Contestant:
    """Forward and backward of the edge encoder alone, on the maps of our batches."""
    import torch

    data = drawn(project, "structxlip")
    encoder = loop_of(project, "structxlip", data).inner.model.edge_encoder

    def work(maps: torch.Tensor, upstream: list[torch.Tensor]) -> dict[str, float]:
        encoder.zero_grad()
        torch.autograd.backward(encoder(maps), upstream)
        return {}

    def contestant(number: int) -> Callable[[], dict[str, float]]:
        maps = data.batch(number)["edges"]
        with torch.no_grad():
            upstream = [torch.randn_like(found) for found in encoder(maps)]
        return partial(work, maps, upstream)

    return contestant


def straightforward_paper(project: Project, file: Path) -> Contestant:
    import torch
    from straightforward import Training, vit_b_16

    params = project.params
    settings, arm = params.active.train, params.active.arms.structxlip
    torch.manual_seed(params.seed)
    weights = {"clip_loss": 1.0} | {
        f"{name}_loss": getattr(arm, name) for name in ("edge_text", "region_chunk", "edge_image")
    }
    read, steps_per_epoch = reader(project, file)
    training = Training(
        vit_b_16(LONG),
        weights,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        steps=settings.epochs * steps_per_epoch,
        bf16=settings.precision == "bf16",
    )
    return lambda number: lambda: training.step(read(number), number)


def straightforward_loading(project: Project, file: Path) -> Contestant:
    read, _ = reader(project, file)

    def work(number: int) -> dict[str, float]:
        read(number)
        return {}

    return lambda number: partial(work, number)


def reader(project: Project, file: Path) -> tuple[Callable[[int], list[Any]], int]:
    """What reads the pairs of our batches from their files, and the steps of an epoch."""
    from straightforward import Samples

    data = drawn(project, "vanilla")
    samples = Samples(file, project.params.active.model.image_px, LONG)

    def read(number: int) -> list[Any]:
        return [samples[pair] for pair in data.draws[data.place(number)].pairs.tolist()]

    return read, len(data.draws)


def open_clip_training(project: Project, *, full: bool) -> Contestant:
    """The training of the package ``open_clip_train``, an epoch of one batch each time.

    Its pixels are standardised beforehand.
    """
    from types import SimpleNamespace

    import open_clip
    import torch
    from open_clip_train.scheduler import cosine_lr
    from open_clip_train.train import train_one_epoch

    from structxlip.models.towers import Standardise

    params = project.params
    settings = params.active.train
    data = drawn(project, "vanilla")
    torch.manual_seed(params.seed)
    config = Path(params.active.model.image_tower.removeprefix("open_clip:"))
    open_clip.add_model_config(config)
    model = open_clip.create_model(config.stem, output_dict=True, require_pretrained=False)
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(  # as open_clip_train groups them
        [
            {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
            {"params": [p for _, p in named if p.ndim >= 2]},
        ],
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
    )
    schedule = cosine_lr(optimizer, settings.learning_rate, 0, settings.epochs * len(data.draws))
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
        num_batches, num_samples = 1, settings.batch_size

    def work(loaders: Any, number: int) -> dict[str, float]:
        train_one_epoch(model, loaders, loss, number, optimizer, None, schedule, None, arguments)
        return {}

    def contestant(number: int) -> Callable[[], dict[str, float]]:
        batch = data.batch(number)
        texts = batch["caption"].long()
        if full:
            texts[texts == 0] = END_OF_TEXT
        loader = OneBatch([(standardise(batch["image"]).contiguous(), texts)])
        loaders = {"train": SimpleNamespace(dataloader=loader, set_epoch=lambda epoch: None)}
        return lambda: work(loaders, number)

    return contestant


def agreement(project: Project) -> Contestant:
    """The losses of both on four pairs of ours in fp32: of the same features, and with the same
    weights from the same pixels and tokens."""
    import torch
    from straightforward import Sample, Views, encode, losses

    from structxlip.models.hf import to_hf_clip

    data = drawn(project, "structxlip")
    task = loop_of(project, "structxlip", data).inner
    model, loss = task.model.eval(), task.loss
    batch = {name: value[:4] for name, value in data.batch(0).items()}
    batch["has_structure"][0] = False  # what the masks leave out, and what counts as one caption
    batch["chunk_mask"][1] = False
    batch["group_ids"][3] = batch["group_ids"][2]
    standard = {
        "image": model.standardise(batch["image"]),
        "edges": model.standardise(batch["edges"]),
    }

    def sample(i: int) -> Sample:
        crops = batch["regions"][i][batch["region_mask"][i]]
        return Sample(
            image=standard["image"][i],
            edges=standard["edges"][i],
            crops=list(model.standardise(crops)),
            caption=batch["caption"][i].long(),
            structure=batch["structure"][i].long(),
            chunks=batch["chunks"][i][batch["chunk_mask"][i]].tolist(),
            has_structure=bool(batch["has_structure"][i]),
            group=int(batch["group_ids"][i]),
        )

    def views(found: Any) -> Views:
        rows = range(len(batch["image"]))
        regions = batch["region_mask"] & batch["has_structure"][:, None]
        return Views(
            images=found["image_features"],
            texts=found["text_features"],
            edges=found["edge_features"],
            structures=found["structure_features"],
            chunks=[found["chunk_features"][i][batch["chunk_mask"][i]] for i in rows],
            regions=[found["region_features"][i][regions[i]] for i in rows],
            scale=found["logit_scale"],
            has_structure=batch["has_structure"].tolist(),
            groups=batch["group_ids"],
        )

    def work() -> dict[str, float]:
        with torch.no_grad():
            found = model(batch)
            ours = loss(found)
            same_features = losses(views(found))
            samples = [sample(i) for i in range(len(batch["image"]))]
            same_weights = losses(encode(to_hf_clip(model.clip), samples))
        found = {}
        for name, value in ours.items():
            if name != "loss":
                found[name] = float(value)
                found[f"{name}, same features"] = float((same_features[name] - value).abs())
                found[f"{name}, same weights"] = float((same_weights[name] - value).abs())
        return found

    return lambda number: work
