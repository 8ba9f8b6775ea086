"""Stage `features`: what is trained on, `data/<dataset>/features`: outputs of frozen towers, or the
pixels and tokens for towers that are trained."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from structxlip.config import Model, Params
from structxlip.data.feature_store import FeatureSizes, FeatureWriter
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import shards
from structxlip.models.towers import load_encoders
from structxlip.stages.artifacts import DATA, atomic_directory
from structxlip.stages.row_groups import RowGroup, Worker, map_units, row_groups

if TYPE_CHECKING:
    import pyarrow as pa


def features(params: Params, dataset: str) -> None:
    pairs, captions = DATA / dataset / "pairs", DATA / dataset / "captions"
    settings = params.active.model
    images, texts = load_encoders(**settings.encoders())
    index = list(_columns(pairs, ["id", "split", "captions"]))
    parsed = list(_columns(captions, ["text", "chunks"]))
    chunk_counts = [len(row["chunks"]) for row in parsed]
    sizes = FeatureSizes(
        encoders=settings.encoders(),
        pairs=len(index),
        captions=len(parsed),
        chunks=sum(chunk_counts),
        image=images.row,
        text=texts.row,
        chunk=texts.chunk_row,
    )
    worker = partial(_worker, pairs, captions, settings)
    with atomic_directory(DATA / dataset / "features") as directory:
        writer = FeatureWriter(
            directory,
            sizes,
            ids=[row["id"] for row in index],
            splits=[row["split"] for row in index],
            caption_counts=[len(row["captions"]) for row in index],
            chunk_counts=chunk_counts,
            caption_texts=[row["text"] for row in parsed],
        )
        for table in map_units(
            row_groups(pairs),
            worker,
            description=f"features {dataset}",
            samples=lambda group: group.pairs,
        ):
            writer.append(**{name: table[name][0].as_py() for name in table.column_names})
        writer.close()


def _columns(directory: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for path in shards(directory):
        yield from pq.read_table(path, columns=columns).to_pylist()


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
