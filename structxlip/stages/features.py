"""Stage `features`: what is trained on, `data/<dataset>/features`: outputs of frozen towers, or the
pixels and tokens for towers that are trained."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from functools import partial
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from structxlip.config import Model, Params
from structxlip.data.feature_store import FeatureSizes, FeatureWriter
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import shards
from structxlip.models.towers import load_encoders, named_files
from structxlip.progress import say
from structxlip.stages.artifacts import DATA, replace_directory
from structxlip.stages.made import STORAGE, key, signature
from structxlip.stages.row_groups import RowGroup, Worker, map_units, read_each, row_groups

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = Path(__file__).parents[1]
CODE = (
    PACKAGE / "data/feature_store.py",
    PACKAGE / "data/images.py",
    PACKAGE / "models/hf.py",
    PACKAGE / "models/towers",
    PACKAGE / "models/weights.py",
    Path(__file__),
)
PACKAGES = (
    "ftfy",
    "numpy",
    "open_clip_torch",
    "pillow",
    "timm",
    "tokenizers",
    "torch",
    "transformers",
)


def features(params: Params, dataset: str) -> None:
    pairs, captions = DATA / dataset / "pairs", DATA / dataset / "captions"
    settings, home = params.active.model, STORAGE / "features" / dataset
    groups = row_groups(pairs)
    writer = _writer(home, settings, pairs, groups, captions)
    starts = [0, *accumulate(group.pairs for group in groups)]
    done, total = writer.filled["image"], starts.pop()
    if done:
        say(f"features {dataset}: going on after {done:,} of {total:,} samples")
    made = map_units(
        [group for group, start in zip(groups, starts, strict=True) if start >= done],
        partial(_worker, pairs, captions, settings),
        description=f"features {dataset}",
        samples=lambda group: group.pairs,
    )
    with closing(made):
        for table in made:
            writer.append(**{name: table[name][0].as_py() for name in table.column_names})
    writer.close()
    replace_directory(writer.directory, DATA / dataset / "features")
    shutil.rmtree(home)


def _writer(
    home: Path, settings: Model, pairs: Path, groups: list[RowGroup], captions: Path
) -> FeatureWriter:
    """What fills the folder in ``home`` that is of these sources and settings; others go."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    images, texts = load_encoders(**settings.encoders())
    ids, splits, caption_counts, sources = [], [], [], []
    for rows in read_each(pairs, groups, ["id", "split", "captions", "sha256"]):
        ids += rows["id"].to_pylist()
        splits += rows["split"].to_pylist()
        caption_counts += pc.list_value_length(rows["captions"]).to_pylist()
        sources.append(key(str(rows.to_pylist()).encode()))
    parsed = pa.concat_tables(
        pq.read_table(path, columns=["text", "chunks"]) for path in shards(captions)
    )
    chunk_counts = pc.list_value_length(parsed["chunks"]).to_pylist()
    name = _signature(settings, *sources, *shards(captions))
    for path in home.glob("*"):
        if path.stem != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return FeatureWriter(
        home / name,
        FeatureSizes(
            encoders=settings.encoders(),
            pairs=len(ids),
            captions=len(chunk_counts),
            chunks=sum(chunk_counts),
            image=images.row,
            text=texts.row,
            chunk=texts.chunk_row,
        ),
        ids=ids,
        splits=splits,
        caption_counts=caption_counts,
        chunk_counts=chunk_counts,
        caption_texts=parsed["text"].to_pylist(),
    )


def _signature(settings: Model, *sources: bytes | Path) -> str:
    """What stands for all that features depend on."""
    towers = dict.fromkeys((settings.image_tower, settings.text_tower))
    return signature(
        json.dumps(settings.encoders()),
        cv2.__version__,
        *map(version, PACKAGES),
        *CODE,
        *(file for tower in towers for file in named_files(tower)),
        *sources,
    )


def _worker(pairs: Path, captions: Path, settings: Model) -> Worker[RowGroup]:
    image_encoder, text_encoder = load_encoders(**settings.encoders())

    def work(group: RowGroup) -> pa.Table:
        import pyarrow as pa

        images = group.read(pairs, ["image"])["image"]
        texts = group.read(captions, ["text", "structure", "weights", "chunks"]).to_pylist()
        spans = [[(chunk["start"], chunk["end"]) for chunk in row["chunks"]] for row in texts]
        caption, _ = text_encoder.encode([row["text"] for row in texts])
        weights = [row["weights"] for row in texts]
        played_down = any(weight != 1.0 for row in weights for weight in row)
        structure, chunks = text_encoder.encode(
            [row["structure"] for row in texts], spans, weights if played_down else None
        )
        arrays = {
            "image": image_encoder.encode([decode_rgb(image.as_py()) for image in images]),
            "caption": caption,
            "structure": structure,
            "chunks": np.concatenate(chunks),
        }
        return pa.table({name: [array.tobytes()] for name, array in arrays.items()})

    return work
