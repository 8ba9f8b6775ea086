"""A small feature store and its edge maps, written as the stages write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structxlip.cues import encode_edges
from structxlip.data.feature_store import EdgeMaps, FeatureSizes, FeatureStore, FeatureWriter

PAIRS, IMAGE_DIM, TEXT_DIM, EDGES_PX = 40, 6, 8, 32


@dataclass(frozen=True)
class Artifacts:
    features: Path
    edges: Path

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.features)

    @property
    def maps(self) -> EdgeMaps:
        return EdgeMaps(self.edges, self.store.ids)


def write_artifacts(folder: Path) -> Artifacts:
    """40 pairs (28 train, 4 val, 8 test) with 1 to 3 captions and 0 to 4 chunks a caption."""
    found = Artifacts(folder / "features", folder / "edges")
    found.features.mkdir()
    found.edges.mkdir()
    rng = np.random.default_rng(0)
    captions = rng.integers(1, 4, PAIRS)
    chunks = rng.integers(0, 5, captions.sum())
    ids = [f"pair-{i}" for i in range(PAIRS)]
    sizes = FeatureSizes(
        pairs=PAIRS,
        captions=int(captions.sum()),
        chunks=int(chunks.sum()),
        image_dim=IMAGE_DIM,
        text_dim=TEXT_DIM,
        image_tower="packaged:efficientnet-lite0",
        text_tower="packaged:all-minilm-l6-v2",
        image_px=224,
        max_tokens=256,
    )
    texts = [f"caption {i}" for i in range(sizes.captions)]
    texts[0] = texts[-1] = "The same words"
    writer = FeatureWriter(
        found.features,
        sizes,
        ids=ids,
        splits=["train"] * 28 + ["val"] * 4 + ["test"] * 8,
        caption_counts=captions.tolist(),
        chunk_counts=chunks.tolist(),
        caption_texts=texts,
    )

    def random(rows: int, dim: int) -> np.ndarray:
        return rng.standard_normal((rows, dim)).astype(np.float32)

    writer.append(
        image=random(PAIRS, IMAGE_DIM),
        caption=random(sizes.captions, TEXT_DIM),
        structure=random(sizes.captions, TEXT_DIM),
        chunks=random(sizes.chunks, TEXT_DIM),
    )
    writer.close()
    maps = [rng.random((EDGES_PX, EDGES_PX)) < 0.2 for _ in ids]
    table = pa.table(
        {
            "id": ids,
            "edges": [encode_edges(edges) for edges in maps],
            "has_structure": [i % 5 > 0 for i in range(PAIRS)],
        }
    )
    pq.write_table(table, found.edges / "part-00000.parquet")
    return found
