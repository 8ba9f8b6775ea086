"""Stage `features`: the feature store `data/<dataset>/features`: outputs of frozen towers, or the
pixels and tokens for a CLIP that is trained."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import partial
from importlib.metadata import version
from itertools import accumulate, compress
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from structxlip.config import Model, Params
from structxlip.data.images import decode_rgb
from structxlip.data.shards import read_shards, shards
from structxlip.features.colours import colour_copies
from structxlip.features.store import StoreSpec
from structxlip.features.writer import ArrayWriter, FeatureWriter
from structxlip.incremental.artifacts import DATA, replace_directory
from structxlip.incremental.ray_map import Worker, map_units
from structxlip.incremental.row_cache import CACHE, row_key, signature
from structxlip.incremental.row_groups import RowGroup, read_row_groups, row_groups
from structxlip.models.towers import Pixels, load_encoders, named_files
from structxlip.progress import say

if TYPE_CHECKING:
    import pyarrow as pa

PACKAGE = Path(__file__).parents[1]
# The code that decides the bytes of the features; the rest of the stage moves them about.
CODE = (
    PACKAGE / "features/colours.py",
    PACKAGE / "data/images.py",
    PACKAGE / "data/readers/lfs.py",
    PACKAGE / "features/groups.py",
    PACKAGE / "features/store.py",
    PACKAGE / "features/writer.py",
    PACKAGE / "models/hf.py",
    PACKAGE / "models/state_dicts.py",
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
    "torchvision",
    "transformers",
)


def features(params: Params, dataset: str, target: Path | None = None) -> None:
    """Encode the images and captions of a dataset into its feature store, or into the folder
    ``target``."""
    pairs, captions = DATA / dataset / "pairs", DATA / dataset / "captions"
    settings, home = params.recipe_settings.model, CACHE / "features" / dataset
    groups = row_groups(pairs)
    writer = _writer(home, settings, pairs, groups, captions)
    make_worker = partial(_worker, pairs, captions, settings)
    target = target or DATA / dataset / "features"
    fill(writer, "image", groups, make_worker, f"features {dataset}", target)


def fill(
    writer: ArrayWriter,
    array: str,
    groups: list[RowGroup],
    make_worker: Callable[[], Worker[RowGroup]],
    name: str,
    target: Path,
) -> None:
    """Fill the arrays of a writer from row groups, going on where a killed run was, and move the
    folder to its place.

    Args:
        writer: of a folder that lies in one of its own, which is removed.
        array: has a row for each pair.
        groups: all row groups.
        make_worker: makes the worker, whose tables hold the bytes of the rows of each array.
        name: of the progress.
        target: the place.
    """
    starts = [0, *accumulate(group.pairs for group in groups)]
    done, total = writer.filled[array], starts.pop()
    if done:
        say(f"{name}: going on after {done:,} of {total:,} samples")
    made = map_units(
        [group for group, start in zip(groups, starts, strict=True) if start >= done],
        make_worker,
        description=name,
        samples=lambda group: group.pairs,
        name=str,
    )
    with closing(made):
        for table in made:
            writer.append(**{name: table[name][0].as_py() for name in table.column_names})
    writer.close()
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_directory(writer.directory, target)
    shutil.rmtree(writer.directory.parent)


def remove_others(home: Path, name: str) -> None:
    """Remove the folders in ``home``, and their notes, that belong to other data or settings than
    those of this name."""
    for path in home.glob("*"):
        if path.stem != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _writer(
    home: Path, settings: Model, pairs: Path, groups: list[RowGroup], captions: Path
) -> FeatureWriter:
    """The writer of a folder in ``home`` that is named by these sources and settings."""
    import pyarrow.compute as pc

    images, texts = load_encoders(**settings.encoder_settings())
    ids, splits, caption_counts, sources = [], [], [], []
    for rows in read_row_groups(pairs, groups, ["id", "split", "captions", "sha256"]):
        ids += rows["id"].to_pylist()
        splits += rows["split"].to_pylist()
        caption_counts += pc.list_value_length(rows["captions"]).to_pylist()
        sources.append(row_key(str(rows.to_pylist()).encode()))
    parsed = read_shards(captions, ["text", "chunks", "names_side"])
    chunk_counts = pc.list_value_length(parsed["chunks"]).to_pylist()
    name = _signature(settings, *sources, *shards(captions))
    remove_others(home, name)
    return FeatureWriter(
        home / name,
        StoreSpec(
            encoders=settings.encoder_settings(),
            pairs=len(ids),
            captions=len(chunk_counts),
            chunks=sum(chunk_counts),
            image=images.row,
            text=texts.row,
            chunk=texts.chunk_row,
            copies=settings.colour_copies,
        ),
        ids=ids,
        splits=splits,
        caption_counts=caption_counts,
        chunk_counts=chunk_counts,
        caption_texts=parsed["text"].to_pylist(),
        names_side=parsed["names_side"].to_pylist(),
    )


def versions(packages: Iterable[str]) -> list[str]:
    """The versions of installed packages."""
    return [version(package) for package in packages]


def _signature(settings: Model, *sources: bytes | Path) -> str:
    """A hash of everything that the features depend on."""
    towers = dict.fromkeys((settings.image_tower, settings.text_tower))
    return signature(
        json.dumps(settings.feature_settings()),
        cv2.__version__,
        *versions(PACKAGES),
        *CODE,
        *(file for tower in towers for file in named_files(tower)),
        *sources,
    )


def _worker(pairs: Path, captions: Path, settings: Model) -> Worker[RowGroup]:
    image_encoder, text_encoder = load_encoders(**settings.encoder_settings())
    square = Pixels(settings.image_px)

    def work(group: RowGroup) -> pa.Table:
        import pyarrow as pa

        rows = group.read(pairs, ["image", "split"])
        pictures = [decode_rgb(image.as_py()) for image in rows["image"]]
        texts = group.read(captions, ["text", "structure", "weights", "chunks"]).to_pylist()
        spans = [[(chunk["start"], chunk["end"]) for chunk in row["chunks"]] for row in texts]
        caption, _ = text_encoder.encode([row["text"] for row in texts])
        weights = [row["weights"] for row in texts]
        downweighted = any(weight != 1.0 for row in weights for weight in row)
        structure, chunks = text_encoder.encode(
            [row["structure"] for row in texts], spans, weights if downweighted else None
        )
        arrays = {
            "image": image_encoder.encode(pictures),
            "caption": caption,
            "structure": structure,
            "chunks": np.concatenate(chunks),
        }
        in_training = (split == "train" for split in rows["split"].to_pylist())
        copies = [
            copy
            for picture in compress(pictures, in_training)
            for copy in colour_copies(square.encode([picture])[0], settings.colour_copies)
        ]
        if copies:
            arrays["copies"] = image_encoder.encode(copies)
        return pa.table({name: [array.tobytes()] for name, array in arrays.items()})

    return work
