"""Stage `index`: the images of a dataset as the registered arm embeds them, `indexes/<dataset>`."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.data.images import decode_rgb, encode_jpeg, thumbnail
from structxlip.errors import UserError
from structxlip.evaluation.chosen import candidate_arm
from structxlip.features.store import FeatureStore
from structxlip.features.views import View, open_view
from structxlip.incremental.artifacts import DATA, MODELS, REPORTS, atomic_directory
from structxlip.incremental.row_cache import CACHE, link_or_copy
from structxlip.incremental.row_groups import read_row_groups, row_groups
from structxlip.models.build import load_model
from structxlip.models.structxlip import StructXLIP, fused, model_digest, read_config
from structxlip.progress import say
from structxlip.serving.earlier import Earlier
from structxlip.serving.index_files import INDEXES, PATCHES, write_index

BLOCK = 256


def index(params: Params, dataset: str, other: tuple[Path, float] | None = None) -> None:
    """Embed every image of a dataset; images that an earlier index of the same model has are not
    embedded again.

    Args:
        params: those of the dataset.
        dataset: its name.
        other: the folder of a model and its alpha. None: the arm that is registered.

    Raises ``UserError`` for another model with other towers than those that the features are of.
    """
    import pyarrow as pa

    data, recipe = DATA / dataset, params.recipe_settings
    folder, alpha, beta = _registered_arm(params, dataset) if other is None else (*other, 0.0)
    if other is not None:
        _check_towers(folder, params)
    model, digest = load_model(folder), model_digest(folder)
    store = FeatureStore(data / "features")
    view = None
    if model.has_edges:
        by_tower = data / "edge_features" if recipe.reads_with_tower else None
        view = open_view("edges", store, edges=data / "edges", edge_features=by_tower)
    kept = CACHE / "index" / dataset
    earlier = Earlier(kept, digest, alpha, reranks=beta > 0)
    columns, pictures = _columns(data / "pairs", data / "edges", earlier)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    arrays = earlier.take(columns["key"], partial(embed_rows, model, store, view, alpha, beta > 0))
    settings = {
        "model": folder.as_posix(),
        "digest": digest,
        "alpha": alpha,
        "beta": beta,
        "exact_below": params.index.exact_below,
        "images": len(store.ids),
    }
    with atomic_directory(INDEXES / dataset) as directory:
        table = pa.table({**columns, "thumbnail": pictures})
        write_index(directory, settings=settings, table=table, arrays=arrays)
    # DVC removes its outputs before it runs a stage: the next one begins with these links.
    with atomic_directory(kept) as directory:
        for file in (INDEXES / dataset).iterdir():
            link_or_copy(file, directory / file.name)
    new = sum(key not in earlier.rows for key in columns["key"])
    say(f"index {dataset}: {len(store.ids)} images by {folder.name}, {new} of them new")


def _registered_arm(params: Params, dataset: str) -> tuple[Path, float, float]:
    """The folder of the arm that is registered, its alpha and its beta."""
    metrics = json.loads((REPORTS / dataset / "comparison.json").read_text())
    arm = candidate_arm(metrics, params.register_.arm, params.gate.margin)
    alpha, beta = (
        float(metrics[name]) if arm == "structxlip" else 0.0 for name in ("alpha", "beta")
    )
    return MODELS / dataset / arm, alpha, beta


def _check_towers(folder: Path, params: Params) -> None:
    config, wanted = read_config(folder), params.recipe_settings.model
    for key in ("image_tower", "image_px"):
        if config.get(key) != getattr(wanted, key):
            raise UserError(
                f"{folder} was trained with {key} {config.get(key)}, and the features of this "
                f"dataset are of {getattr(wanted, key)}; select its recipe, then run this again"
            )


def embed_rows(
    model: StructXLIP,
    store: FeatureStore,
    view: View | None,
    alpha: float,
    reranks: bool,
    rows: NDArray[np.int64],
) -> dict[str, NDArray[np.float32]]:
    """Unit embeddings ``[n, D]`` of some pairs: of the images, and with an edge branch of both
    fused and of the edges alone; with ``reranks`` the patches of the edge maps too,
    ``[n, P, D]``."""
    device = model.logit_scale.device
    parts: dict[str, list[NDArray[np.float32]]] = {"content": []}
    if view is not None:
        parts |= {"fused": [], "structure": []} | ({PATCHES: []} if reranks else {})
    if not len(rows):
        return {name: np.zeros((0, model.embed_dim), np.float32) for name in parts}
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        images = model.embed_images(torch.from_numpy(store.image[block]).to(device), None, 0.0)
        parts["content"].append(images.float().cpu().numpy())
        if view is not None:
            maps = torch.from_numpy(view.maps(block)).to(device)
            edges = model.embed_edges(maps)
            parts["fused"].append(fused(images, edges, alpha).float().cpu().numpy())
            parts["structure"].append(edges.float().cpu().numpy())
            if reranks:
                parts[PATCHES].append(model.embed_patches(maps).float().cpu().numpy())
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _columns(
    pairs: Path, edges: Path, earlier: Earlier
) -> tuple[dict[str, list[Any]], list[bytes]]:
    """The columns of the table of images, and their thumbnails.

    ``key`` is a hash of what the embeddings of an image are made from. ``shard`` and
    ``row_group`` say where in the pair store the image is.
    """
    names = ["id", "split", "captions", "width", "height"]
    columns: dict[str, list[Any]] = {name: [] for name in (*names, "key", "shard", "row_group")}
    pictures = []
    groups = row_groups(pairs)
    for group, table in zip(groups, read_row_groups(pairs, groups, [*names, "sha256", "image"]),
                            strict=True):  # fmt: skip
        for name in names:
            columns[name] += table[name].to_pylist()
        columns["shard"] += [group.shard] * group.pairs
        columns["row_group"] += [group.index] * group.pairs
        maps = group.read(edges, ["edges", "has_structure"])
        hashes = [
            hashlib.blake2b(f"{sha} {used}".encode() + png, digest_size=16).hexdigest()
            for sha, png, used in zip(
                table["sha256"].to_pylist(),
                maps["edges"].to_pylist(),
                maps["has_structure"].to_pylist(),
                strict=True,
            )
        ]
        columns["key"] += hashes
        for key, image in zip(hashes, table["image"], strict=True):
            kept = earlier.thumbnail(key)
            pictures.append(kept or encode_jpeg(thumbnail(decode_rgb(image.as_py()))))
    return columns, pictures
