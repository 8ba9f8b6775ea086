"""Random data for benchmarks: pictures, captions, pair stores, feature stores and edge maps.

Speed and memory do not depend on the values, so most benchmarks need no real dataset.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from structxlip.config import Edges, Model, load_params
from structxlip.cues import encode_edges
from structxlip.data.shards import ROW_GROUP_PAIRS, pair_schema
from structxlip.features.store import RowSpec, StoreSpec
from structxlip.features.writer import FeatureWriter
from structxlip.models.heads import HeadsConfig, HeadsOnTowers

ROOT = Path(__file__).parents[1]
THINGS = ("dog", "cat", "lamp", "box", "boat", "tree", "chair", "bird", "cup", "house")
DISTINCT_PICTURES = 256
SHARD_GROUPS = 100
CHUNKS = 2  # of each caption in a random feature store
DATASET = "scenes"  # of a random project
EMBED_DIM = 256  # of a random model


def picture(seed: int, height: int, width: int) -> bytes:
    """A JPEG of smooth colours with a little noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (12, 12, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = cv2.add(smooth, rng.integers(0, 8, smooth.shape, np.uint8))
    return cv2.imencode(".jpg", noisy)[1].tobytes()


def sentence(rng: np.random.Generator, number: int) -> str:
    """A sentence of 17 words, another one for each ``number``."""
    one, two, three = rng.choice(THINGS, 3)
    return f"a red {one} stands left of a small {two} and {number} blue {three}s lie under it."


def write_pairs(folder: Path, samples: int, height: int, width: int, sentences: int = 1) -> None:
    """Write a pair store of training pairs, in shards as the stage `ingest` cuts them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shard = ROW_GROUP_PAIRS * SHARD_GROUPS
    for number, start in enumerate(range(0, samples, shard)):
        path = folder / f"part-{number:05d}.parquet"
        with pq.ParquetWriter(path, pair_schema(), compression="zstd") as writer:
            stop = min(start + shard, samples)
            for first in range(start, stop, ROW_GROUP_PAIRS):
                last = min(first + ROW_GROUP_PAIRS, stop)
                rows = list(_pairs(first, last, height, width, sentences))
                writer.write_table(pa.Table.from_pylist(rows, schema=pair_schema()))


def _pairs(
    first: int, last: int, height: int, width: int, sentences: int
) -> Iterator[dict[str, Any]]:
    pictures, rng = _pictures(height, width), np.random.default_rng(first)
    for i in range(first, last):
        yield {
            "id": f"{i:07d}",
            "split": "train",
            "group": str(i),
            "image": pictures[i % DISTINCT_PICTURES],
            "width": width,
            "height": height,
            "captions": [" ".join(sentence(rng, i) for _ in range(sentences))],
            "source": "random",
            "sha256": str(i),
            "boxes": [],
            "edges": None,
        }


@cache
def _pictures(height: int, width: int) -> list[bytes]:
    return [picture(seed, height, width) for seed in range(DISTINCT_PICTURES)]


def write_features(
    folder: Path,
    model: Model,
    splits: dict[str, int],
    *,
    image_dim: int,
    text_dim: int,
    chunks: int = CHUNKS,
) -> None:
    """Write a feature store of frozen towers, with one caption for each pair.

    Args:
        folder: of the store.
        model: names the towers that the features stand for.
        splits: how many pairs each split has.
        image_dim, text_dim: the sizes of the features.
        chunks: of each caption.
    """
    pairs = sum(splits.values())
    text = RowSpec("float32", (text_dim,))
    spec = StoreSpec(
        encoders=model.encoder_settings(),
        pairs=pairs,
        captions=pairs,
        chunks=chunks * pairs,
        image=RowSpec("float32", (image_dim,)),
        text=text,
        chunk=text,
    )
    writer = FeatureWriter(
        folder,
        spec,
        ids=pair_ids(pairs),
        splits=[split for split, count in splits.items() for _ in range(count)],
        caption_counts=[1] * pairs,
        chunk_counts=[chunks] * pairs,
        caption_texts=[f"caption {i}" for i in range(pairs)],
        names_side=[False] * pairs,
    )
    rng = np.random.default_rng(0)
    rows = {
        "image": (spec.pairs, image_dim),
        "caption": (spec.captions, text_dim),
        "structure": (spec.captions, text_dim),
        "chunks": (spec.chunks, text_dim),
    }
    writer.append(
        **{n: rng.standard_normal(shape, np.float32).tobytes() for n, shape in rows.items()}
    )
    writer.close()


def write_edge_maps(folder: Path, pairs: int, size_px: int) -> None:
    """Write random edge maps that belong to a random feature store; a fifth has no structure."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    box = pa.struct([*((side, pa.int32()) for side in "xywh"), ("score", pa.float32())])
    table = pa.table(
        {
            "id": pair_ids(pairs),
            "edges": [encode_edges(rng.random((size_px, size_px)) < 0.2) for _ in range(pairs)],
            "has_structure": [i % 5 > 0 for i in range(pairs)],
            "regions": pa.array([[] for _ in range(pairs)], pa.list_(box)),
        }
    )
    pq.write_table(table, folder / "part-00000.parquet")


def pair_ids(pairs: int) -> list[str]:
    """The ids of the pairs of a random feature store."""
    return [f"pair-{i}" for i in range(pairs)]


@contextmanager
def project_folder(smoke: bool) -> Iterator[Path]:
    """The folder of the project to measure: the current one, or a random one for a smoke run."""
    if not smoke:
        yield Path()
        return
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder))
        yield Path(folder)


def with_cnn(recipe: dict[str, Any]) -> None:
    """Let a recipe of frozen towers train an edge CNN, which reads edge maps themselves."""
    recipe["edges"] |= {"cue": "canny", "size_px": 128, "tower_grid": None}
    recipe["arms"]["structxlip"] |= {"edge_branch": "cnn", "edge_shift_px": 4}


def write_project(folder: Path, *, epochs: int = 2) -> None:
    """Write a project that trains in seconds: ``params.yaml`` with a small recipe `frozen`, and
    ``data/scenes`` with random features and edge maps."""
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    content["recipe"] = "frozen"
    recipe = content["recipes"]["frozen"]
    with_cnn(recipe)
    recipe["edges"]["size_px"] = 32
    recipe["model"] |= {"embed_dim": 16, "hidden_dim": 16}
    recipe["train"] |= {"epochs": epochs, "batch_size": 12, "warmup_epochs": 1}
    recipe["evaluation"] |= {"alphas": [0.0, 0.3], "bootstrap_samples": 100}
    file = folder / "params.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    settings, splits = load_params(file).recipe_settings, {"train": 36, "val": 8, "test": 8}
    data = folder / "data" / DATASET
    write_features(data / "features", settings.model, splits, image_dim=6, text_dim=8)
    write_edge_maps(data / "edges", sum(splits.values()), settings.edges.size_px)


def write_model(folder: Path) -> None:
    """Heads with random weights on the packaged towers, with a CNN that reads edge maps."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    config = HeadsConfig(
        image_tower="packaged:efficientnet-lite0",
        text_tower="packaged:all-minilm-l6-v2",
        image_px=224,
        max_tokens=None,
        image_dim=1280,
        text_dim=384,
        embed_dim=EMBED_DIM,
        hidden_dim=512,
        dropout=0.0,
        aligned=False,
        edges="cnn",
    )
    HeadsOnTowers(config).eval().save(folder)
    described = {"edges": Edges().model_dump()}
    (folder / "preprocess.json").write_text(json.dumps(described))
