"""Training against what it could be: the recipe `paper` written straight from its formulas, the
training of open_clip, loading alone, and the edge encoder alone.

    python benchmarks/training.py
    python benchmarks/training.py --tables paper --dataset fashion --path DIR

Works in a temporary folder with pair stores that the stages make. Contestants run in processes of
their own, on the same pairs, and take turns step by step. Times are of the fastest step (by the
clock, with the slowest, and of the processors), `times` and `share` ratios to the first row. Peak
MiB is the resident set of the whole process, growth what it has beyond imports, data and model.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from duel import Contestant, Measured, duel

ROOT = Path(__file__).parents[1]
VIT_B_16: dict[str, Any] = {
    "embed_dim": 512,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 12, "width": 768, "patch_size": 16},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 512,
        "heads": 8,
        "layers": 12,
    },
}
VIT_B_32 = VIT_B_16 | {"vision_cfg": VIT_B_16["vision_cfg"] | {"patch_size": 32}}
END_OF_TEXT, LONG = 49407, 248
LARGE_CROPS = {"region_px": None}  # as large as the images
KEPT = 64  # pairs of the other splits, which nothing here reads


@dataclass(frozen=True)
class Project:
    """A folder with params.yaml and the artifacts of one dataset."""

    folder: Path
    dataset: str
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)  # of `train` and `machine`

    @property
    def data(self) -> Path:
        return self.folder / "data" / self.dataset

    @property
    def params(self) -> Any:
        from structxlip.config import Params, load_params

        content = load_params(self.folder / "params.yaml").model_dump(by_alias=True)
        content["recipes"][content["recipe"]]["train"] |= self.changes.get("train", {})
        content["machine"] |= self.changes.get("machine", {})
        return Params.model_validate(content)

    def but(self, **changes: dict[str, Any]) -> Project:
        """The same data with other values of `train` or `machine`."""
        return replace(self, changes=changes)


# --- The data


def prepare(
    folder: Path,
    options: argparse.Namespace,
    recipe: str,
    clip: dict[str, Any] | None = None,
    **model: Any,
) -> Project:
    """A project that follows a recipe on some pairs of the dataset, with its features made."""
    project = Project(folder, options.dataset)
    folder.mkdir(parents=True, exist_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    chosen = params["recipes"][recipe]
    if clip is not None:
        file = folder / f"{folder.name}_random.json"
        file.write_text(json.dumps(clip))
        model |= dict.fromkeys(("image_tower", "text_tower"), f"open_clip:{file}")
        chosen["train"] |= {"batch_size": options.batch, "precision": options.precision}
    chosen["model"] |= model
    entry = params["datasets"].get(options.dataset) or params["presets"][options.dataset]
    entry["path"] = str(options.path or ROOT / entry["path"])
    if entry["kind"] == "scenes":
        entry |= {"train": options.pairs, "val": KEPT, "test": KEPT}
    params |= {"recipe": recipe, "datasets": {options.dataset: entry}}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    if (project.data / "features").is_dir():
        return project
    for stage in ("ingest", "edges", "captions", "features"):
        command = [Path(sys.executable).with_name("structxlip"), stage]
        command += ["--dataset", options.dataset]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        if stage == "ingest":
            thin(project.data / "pairs", options.pairs)
    return project


def thin(pairs: Path, count: int) -> None:
    """Leave the first so many training pairs of a pair store, and no others but a few."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from structxlip.data.pairs import ROW_GROUP_PAIRS, shards

    kept, left = [], {"train": count, "val": KEPT, "test": KEPT}
    for path in shards(pairs):
        table = pq.read_table(path)
        for split, wanted in left.items():
            of_split = table.filter(pa.compute.equal(table["split"], split))[:wanted]
            kept.append(of_split)
            left[split] -= len(of_split)
        path.unlink()
    pq.write_table(pa.concat_tables(kept), pairs / "part-00000.parquet", ROW_GROUP_PAIRS)


def export(project: Project) -> Path:
    """The pairs as files and a JSON list of them, as plain code reads them."""
    import pyarrow.parquet as pq

    from structxlip.data.feature_store import FeatureStore
    from structxlip.data.pairs import shards

    def rows(artifact: str, columns: list[str]) -> list[dict[str, Any]]:
        paths = shards(project.data / artifact)
        return [row for path in paths for row in pq.read_table(path, columns=columns).to_pylist()]

    folder = project.folder / "files"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    store = FeatureStore(project.data / "features")
    most = project.params.active.train.regions_per_image
    maps = rows("edges", ["edges", "has_structure", "regions"])
    texts = rows("captions", ["id", "caption_index", "text", "structure", "chunks"])
    first = {text["id"]: text for text in texts if text["caption_index"] == 0}
    listed = []
    for i, pair in enumerate(rows("pairs", ["id", "image"])):
        (folder / f"{i}.image").write_bytes(pair["image"])
        (folder / f"{i}.png").write_bytes(maps[i]["edges"])
        text = first[pair["id"]]
        listed.append(
            {
                "image": f"{i}.image",
                "edges": f"{i}.png",
                "regions": [[box[side] for side in "xywh"] for box in maps[i]["regions"][:most]],
                "has_structure": maps[i]["has_structure"],
                "caption": text["text"],
                "structure": text["structure"],
                "chunks": [[chunk["start"], chunk["end"]] for chunk in text["chunks"]],
                "group": int(store.group_ids[i]),
            }
        )
    (folder / "pairs.json").write_text(json.dumps(listed))
    return folder / "pairs.json"


# --- The contestants


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


# --- The same losses


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


# --- The tables


def show(found: dict[str, Measured], samples: int) -> dict[str, Any]:
    """Print the contestants, the first of them being the reference of the others."""
    print("| | s a step | samples/s | times | CPU s | times | peak MiB | growth MiB | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    reference, rows = next(iter(found.values())), {}
    for name, measured in found.items():
        row = {
            "samples_per_s": samples / measured.best_s,
            "times": reference.best_s / measured.best_s,
            "cpu_times": reference.best_cpu_s / measured.best_cpu_s,
            "growth_share": measured.growth_mib / reference.growth_mib,
        }
        print(
            f"| {name} | {measured.best_s:.3g} to {max(measured.seconds):.3g} "
            f"| {row['samples_per_s']:.3g} | {row['times']:.2f} "
            f"| {measured.best_cpu_s:.3g} | {row['cpu_times']:.2f} "
            f"| {measured.peak_mib:.0f} | {measured.growth_mib:.0f} | {row['growth_share']:.2f} |",
            flush=True,
        )
        rows[name] = asdict(measured) | row
    return rows


def paper(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "paper", options, "paper", VIT_B_16, max_tokens=LONG)
    file = export(project)
    same = duel({"losses": partial(agreement, project.but(train=LARGE_CROPS))}, steps=1, warm_up=0)[
        "losses"
    ].values[0]
    print("\n| | ours | difference, same features | same weights and inputs |\n|---|---|---|---|")
    for name in (name for name in same if "," not in name):
        differences = [f"{same[f'{name}, same {what}']:.1e}" for what in ("features", "weights")]
        print(f"| {name} | {same[name]:.6f} | {' | '.join(differences)} |", flush=True)
    print(f"\nReading batches of {options.batch} alone\n")
    reading = duel(
        {
            "straight from the formulas": partial(straightforward_loading, project, file),
            "structxlip": partial(loading, project, "structxlip"),
        },
        steps=options.short_steps,
    )
    rows = {"losses": same, "reading": show(reading, options.batch)}
    print(f"\nRecipe `paper`, ViT-B/16, batches of {options.batch}, {options.precision}\n")
    variants = {
        "structxlip, crops as large": project.but(train=LARGE_CROPS),
        "structxlip": project,
    }
    if options.savings:
        micro = max(options.batch // 4, 1)
        variants |= {
            f"structxlip, micro-batches of {micro}": project.but(
                machine={"micro_batch_size": micro}
            ),
            "structxlip, gradient checkpointing": project.but(
                machine={"gradient_checkpointing": True}
            ),
        }
    for name, variant in variants.items():  # one after the other: each pair fills the memory
        found = duel(
            {
                "straight from the formulas": partial(straightforward_paper, project, file),
                name: partial(ours, variant, "structxlip"),
            },
            steps=options.steps,
        )
        rows[name] = show(found, options.batch)
    return rows


def vanilla(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "vanilla", options, "paper", VIT_B_32, max_tokens=None)
    print(f"\nPlain CLIP, ViT-B/32, batches of {options.batch}, {options.precision}\n")
    found = duel(
        {
            "open_clip_train": partial(open_clip_training, project, full=True),
            "structxlip, texts of 77 tokens": partial(ours, project, "vanilla", full=True),
            "structxlip, texts as they are": partial(ours, project, "vanilla"),
        },
        steps=options.short_steps,
    )
    return show(found, options.batch)


def loader(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "seed", options, "seed")
    batch = project.params.active.train.batch_size
    rows = {}
    for arm in ("vanilla", "structxlip"):
        print(f"\nBatches of {batch} from cached features, {arm}\n")
        found = duel(
            {
                "training": partial(ours, project, arm, loads=False),
                "loading": partial(loading, project, arm),
            },
            steps=options.short_steps,
        )
        rows[arm] = show(found, batch)
        ratio = found["training"].best_s / found["loading"].best_s
        print(f"\nLoading is {ratio:.0f} times as fast as training.")
    return rows


def cached(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    project = prepare(folder / "seed", options, "seed")
    batch = project.params.active.train.batch_size
    print(f"\nBatches of {batch} from cached features\n")
    found = duel(
        {
            "edge encoder, forward and backward": partial(edge_encoder, project),
            "structxlip": partial(ours, project, "structxlip", loads=False),
            "structxlip with loading": partial(ours, project, "structxlip"),
            "vanilla": partial(ours, project, "vanilla", loads=False),
        },
        steps=options.short_steps,
    )
    rows = show(found, batch)
    step, alone = found["structxlip"], found["edge encoder, forward and backward"]
    print(f"\nA step takes {step.best_s / alone.best_s:.2f} times as long as its edge encoder.")
    return rows


TABLES = {"paper": paper, "vanilla": vanilla, "loader": loader, "cached": cached}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--dataset", default="scenes", help="an entry or a preset of params.yaml")
    parser.add_argument("--path", type=Path, help="what the dataset is read from")
    parser.add_argument("--pairs", type=int, default=1024, help="training pairs that are kept")
    parser.add_argument("--batch", type=int, default=8, help="of the CLIPs that are trained")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--steps", type=int, default=2, help="of the recipe `paper`")
    parser.add_argument(
        "--savings", action="store_true", help="`paper` also with what `machine:` saves memory by"
    )
    parser.add_argument("--short-steps", type=int, default=12, help="of all others")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="keep the artifacts there, and use what is")
    parser.add_argument("--json", type=Path, help="also write what was found")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        found = {name: TABLES[name](folder, options) for name in options.tables}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
