"""The pointing game: chunks that name a box, their attention, and what a hit is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from structxlip.config import Params
from structxlip.evaluation.pointing import (
    NamedChunk,
    attention_weights,
    named_chunks,
    pointing_game,
)
from structxlip.losses import RegionChunkAttentionLoss
from structxlip.models.build import build_model
from structxlip.models.structxlip import StructXLIP
from tests.store import Artifacts


@pytest.fixture
def model(artifacts: Artifacts, params: Params) -> StructXLIP:
    settings = params.recipe_settings.model
    return build_model(settings, artifacts.store, seed=0, edge_branch="cnn").eval()


def write_data(folder: Path, artifacts: Artifacts, boxes: list[dict[str, object]]) -> None:
    """Pairs with these boxes, and captions whose chunks are `A sailboat`, `two dogs`, `a boat`."""
    store = artifacts.store
    pairs = {"width": 200, "height": 100, "boxes": boxes}
    text, spans = "A sailboat, two dogs, a boat and so on", [(0, 10), (12, 20), (22, 28), (29, 38)]
    (folder / "pairs").mkdir(parents=True)
    (folder / "captions").mkdir()
    rows = [{"id": name, **pairs} for name in store.ids.tolist()]
    pq.write_table(pa.Table.from_pylist(rows), folder / "pairs/part-00000.parquet")
    captions, owners = store.captions_of(np.arange(len(store.ids)))
    counts = np.diff(store.chunk_offsets)[captions]
    parsed = [
        {
            "id": str(store.ids[owner]),
            "structure": text,
            "chunks": [{"start": start, "end": end} for start, end in spans[:count]],
        }
        for owner, count in zip(owners, counts, strict=True)
    ]
    schema = pa.schema(
        {
            "id": pa.string(),
            "structure": pa.string(),
            "chunks": pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32()})),
        }
    )
    table = pa.Table.from_pylist(parsed, schema=schema)
    pq.write_table(table, folder / "captions/part-00000.parquet")


def box(label: str | None, x: int = 20, y: int = 50) -> dict[str, object]:
    return {"x": x, "y": y, "w": 40, "h": 25, "label": label}


def test_chunks_that_name_one_box(artifacts: Artifacts, tmp_path: Path) -> None:
    store = artifacts.store
    write_data(tmp_path, artifacts, [box("boat"), box("dog", 0, 0), box(None)])
    found = named_chunks(tmp_path, store, "test")
    assert {chunk.text for chunk in found} <= {"A sailboat", "two dogs", "a boat"}
    assert {chunk.row for chunk in found} <= set(store.rows("test").tolist())
    for chunk in found:
        caption = int(np.searchsorted(store.chunk_offsets, chunk.chunk, side="right")) - 1
        assert store.caption_offsets[chunk.row] <= caption < store.caption_offsets[chunk.row + 1]
        place = chunk.chunk - store.chunk_offsets[caption]
        assert chunk.text == ["A sailboat", "two dogs", "a boat"][place]
        boat = (0.1, 0.5, 0.3, 0.75)
        assert chunk.box == ((0.0, 0.0, 0.2, 0.25) if chunk.text == "two dogs" else boat)
    counts = np.diff(store.chunk_offsets)[store.captions_of(store.rows("test"))[0]]
    assert len(found) == np.minimum(counts, 3).sum()


@pytest.mark.parametrize(
    "boxes", [[], [box(None)], [box("cat")], [box("boat"), box("boat", 5), box("cat")]]
)
def test_boxes_that_no_chunk_names_alone(
    artifacts: Artifacts, tmp_path: Path, boxes: list[dict[str, object]]
) -> None:
    write_data(tmp_path, artifacts, boxes or [box(None)])
    assert named_chunks(tmp_path, artifacts.store, "test") == []


def test_attention_is_that_of_the_loss(artifacts: Artifacts, model: StructXLIP) -> None:
    store, edges = artifacts.store, artifacts.maps
    chunks = [NamedChunk(row, chunk, "x", (0, 0, 1, 1)) for row, chunk in ((3, 7), (3, 2), (9, 0))]
    weights = attention_weights(model, store, edges, chunks, 0.2)
    assert weights is not None
    assert weights.shape == (3, 16)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-5)
    loss = RegionChunkAttentionLoss(0.2)
    for chunk, row in zip(chunks, weights, strict=True):
        patches = model.patch_features(torch.from_numpy(edges.maps(np.array([chunk.row]))))
        assert patches is not None
        text = model.text_features(torch.from_numpy(store.chunks[chunk.chunk][None]))
        keys = torch.nn.functional.normalize(patches[0], dim=-1)
        query = torch.nn.functional.normalize(text, dim=-1)
        wanted = (query @ keys.T / loss.attention_temperature).softmax(-1)[0]
        np.testing.assert_allclose(row, wanted.detach(), rtol=1e-5)
    assert attention_weights(model, store, edges, [], 0.2) is None


def test_a_hit_is_the_middle_of_the_patch_in_the_box() -> None:
    boxes = [
        (0.0, 0.0, 0.5, 0.5),
        (0.5, 0.0, 1.0, 1.0),
        (0.3, 0.3, 0.35, 0.35),
        (0.0, 0.0, 1.0, 1.0),
    ]
    chunks = [NamedChunk(0, 0, "x", corners) for corners in boxes]
    weights = np.full((4, 4), 0.1, np.float32)
    weights[0, 0] = weights[1, 2] = weights[2, 0] = weights[3, 3] = 0.7  # of 2 x 2 patches
    found = pointing_game(weights, chunks)
    # The first and the last hit. The second points beside its box; the third holds no middle.
    assert found["accuracy"] == 50
    assert found["chance"] == pytest.approx(100 * (1 / 4 + 2 / 4 + 0 + 1) / 4)
    assert found["standard_error"] == pytest.approx(25)
    assert found["chunks"] == 4
