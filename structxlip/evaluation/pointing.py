"""The pointing game: does a chunk of a caption attend to the part of the edge map that it names?

A dataset with labelled boxes tells where things are (Zhang et al., 2018, IJCV 126). A chunk that
names one of them points at the patch with the largest attention weight. It hits when the middle of
that patch lies in the box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from structxlip.data.shards import read_shards, shards
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.structxlip import StructXLIP

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class NamedChunk:
    """A chunk that names one thing of its image.

    Attributes:
        row: of the pair in the feature store.
        chunk: row of the chunk in the feature store.
        text: of the chunk.
        box: of the thing: left, top, right and bottom as shares of the sides of the image.
    """

    row: int
    chunk: int
    text: str
    box: Corners


def named_chunks(data: Path, store: FeatureStore, split: str) -> list[NamedChunk]:
    """The chunks of a split that name exactly one labelled box of their image.

    A chunk names a box when one of its words is the label, its plural, or ends with it
    (`sailboat`). A label that two boxes of an image have is left out.

    Args:
        data: the folder of the artifacts of the dataset, for `pairs` and `captions`.
        store: its feature store.
        split: such as `test`.
    """
    import pyarrow.dataset as ds

    rows = store.rows(split)
    columns = read_shards(data / "pairs", ["width", "height", "boxes"]).take(rows).to_pylist()
    boxes = [_labelled(pair) for pair in columns]
    if not any(boxes):
        return []
    captions, owners = store.captions_of(rows)
    parsed = ds.dataset(shards(data / "captions")).to_table(
        ["structure", "chunks"], filter=ds.field("id").isin(store.ids[rows].tolist())
    )
    found = []
    for row, caption, owner in zip(parsed.to_pylist(), captions, owners, strict=True):
        first = int(store.chunk_offsets[caption])
        for number, span in enumerate(row["chunks"]):
            text = row["structure"][span["start"] : span["end"]]
            named = [box for label, box in boxes[owner].items() if _names(text, label)]
            if len(named) == 1:
                found.append(NamedChunk(int(rows[owner]), first + number, text, named[0]))
    return found


def _labelled(pair: dict[str, Any]) -> dict[str, Corners]:
    """The boxes of a pair by their labels, without labels that occur twice."""
    labels = [box["label"] for box in pair["boxes"] or []]
    width, height = pair["width"], pair["height"]
    return {
        box["label"].lower(): (
            box["x"] / width,
            box["y"] / height,
            (box["x"] + box["w"]) / width,
            (box["y"] + box["h"]) / height,
        )
        for box in pair["boxes"] or []
        if box["label"] and labels.count(box["label"]) == 1
    }


def _names(text: str, label: str) -> bool:
    words = text.lower().split()
    return any(word.endswith((label, f"{label}s")) for word in words)


@torch.inference_mode()
def attention_weights(
    model: StructXLIP,
    store: FeatureStore,
    edges: View | None,
    chunks: Sequence[NamedChunk],
    temperature: float,
) -> NDArray[np.float32] | None:
    """The attention of chunks over the patches of their own edge maps, ``[n, P]``; rows sum to 1.

    It is that of ``RegionChunkAttentionLoss``. None for a model without patches.

    Args:
        model: in evaluation mode.
        store: the feature store of the chunks.
        edges: the inputs of the edge branch.
        chunks: whose attention is wanted.
        temperature: of the attention, above 0.
    """
    if edges is None or not model.has_patches:
        return None
    device = model.logit_scale.device
    weights = []
    for row, of_row in groupby(chunks, key=lambda chunk: chunk.row):
        patches = model.patch_features(torch.from_numpy(edges.maps(np.array([row]))).to(device))
        places = np.array([chunk.chunk for chunk in of_row])
        texts = model.text_features(torch.from_numpy(store.chunks[places]).to(device))
        similarity = normalize(texts, dim=-1) @ normalize(patches[0], dim=-1).T
        weights.append((similarity / temperature).softmax(dim=-1).cpu().numpy())
    return np.concatenate(weights) if weights else None


def pointing_game(weights: NDArray[np.float32], chunks: Sequence[NamedChunk]) -> dict[str, float]:
    """How often chunks point at what they name.

    Args:
        weights: ``[n, P]``, the attention over a square grid of patches.
        chunks: the ``n`` chunks.

    Returns:
        ``accuracy`` and ``chance``, that of a patch taken at random, in percent;
        ``standard_error`` of the accuracy in points; and ``chunks``, their number.
    """
    side = math.isqrt(weights.shape[1])
    middles = (np.arange(side) + 0.5) / side
    x, y = np.tile(middles, side), np.repeat(middles, side)
    left, top, right, bottom = np.array([chunk.box for chunk in chunks]).T[..., None]
    inside = (left <= x) & (x < right) & (top <= y) & (y < bottom)
    hits = inside[np.arange(len(chunks)), weights.argmax(axis=1)]
    share = float(hits.mean())
    return {
        "accuracy": 100 * share,
        "chance": 100 * float(inside.mean()),
        "standard_error": 100 * math.sqrt(share * (1 - share) / len(chunks)),
        "chunks": len(chunks),
    }
