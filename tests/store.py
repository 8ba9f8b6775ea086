"""Small feature stores and their edge maps, written as the stages write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from structxlip.captions import names_side
from structxlip.config import Arm, Model, Params
from structxlip.cues import encode_edges
from structxlip.features.edge_maps import EdgeMaps
from structxlip.features.store import FeatureStore, RowSpec, StoreSpec
from structxlip.features.writer import FeatureWriter
from structxlip.training.run import TrainingRun
from tests.clips import IMAGE_PX, TEXT_LENGTH

PAIRS, IMAGE_DIM, TEXT_DIM, EDGES_PX = 40, 6, 8, 32
SIDED = 5  # the caption that names a side
REGIONS = [
    {"x": 0, "y": 4, "w": 20, "h": 12, "score": 2.0},
    {"x": 9, "y": 9, "w": 8, "h": 8, "score": 1.0},
]
END_OF_TEXT = 49407
FEATURE = RowSpec("float32", (TEXT_DIM,))
FROZEN = {"image": RowSpec("float32", (IMAGE_DIM,)), "text": FEATURE, "chunk": FEATURE}
RAW = {
    "image": RowSpec("uint8", (IMAGE_PX, IMAGE_PX, 3)),
    "text": RowSpec("int32", (TEXT_LENGTH,)),
    "chunk": RowSpec("int32", (2,)),
}


@dataclass(frozen=True)
class Artifacts:
    features: Path
    edges: Path

    def run(self, params: Params, arm: Arm = "structxlip") -> TrainingRun:
        """The training of an arm on these artifacts."""
        return TrainingRun(params, arm, self.features, self.edges)

    @property
    def store(self) -> FeatureStore:
        return FeatureStore(self.features)

    @property
    def maps(self) -> EdgeMaps:
        return EdgeMaps(self.edges, self.store.ids)


def write_artifacts(folder: Path, model: Model) -> Artifacts:
    """40 pairs (28 train, 4 val, 8 test) with 1 to 3 captions and 0 to 4 chunks a caption: features
    where the towers of ``model`` are frozen, else pixels and tokens; and copies in other colours
    where it has them."""
    found = Artifacts(folder / "features", folder / "edges")
    found.features.mkdir()
    found.edges.mkdir()
    rng = np.random.default_rng(0)
    captions = rng.integers(1, 4, PAIRS)
    chunks = rng.integers(0, 5, captions.sum())
    ids = [f"pair-{i}" for i in range(PAIRS)]
    sizes = StoreSpec(
        encoders=model.encoder_settings(),
        pairs=PAIRS,
        captions=int(captions.sum()),
        chunks=int(chunks.sum()),
        image=RowSpec("float32", (IMAGE_DIM,))
        if model.frozen
        else RowSpec("uint8", (IMAGE_PX, IMAGE_PX, 3)),
        text=RowSpec("float32", (TEXT_DIM,)) if model.frozen else RowSpec("int32", (TEXT_LENGTH,)),
        chunk=RowSpec("float32", (TEXT_DIM,)) if model.frozen else RowSpec("int32", (2,)),
        copies=model.colour_copies,
    )
    texts = [f"caption {i}" for i in range(sizes.captions)]
    texts[0] = texts[-1] = "The same words"
    texts[SIDED] = "A ball to the left"
    writer = FeatureWriter(
        found.features,
        sizes,
        ids=ids,
        splits=["train"] * 28 + ["val"] * 4 + ["test"] * 8,
        caption_counts=captions.tolist(),
        chunk_counts=chunks.tolist(),
        caption_texts=texts,
        names_side=[names_side(text) for text in texts],
    )

    for name, rows in (
        ("image", PAIRS),
        ("caption", sizes.captions),
        ("structure", sizes.captions),
        ("chunks", sizes.chunks),
    ):
        writer.append(**{name: _random(rng, name, rows, frozen=model.frozen).tobytes()})
    if model.colour_copies:
        copies = rng.standard_normal((28, model.colour_copies, IMAGE_DIM))
        writer.append(copies=copies.astype(np.float32).tobytes())
    writer.close()
    maps = [rng.random((EDGES_PX, EDGES_PX)) < 0.2 for _ in ids]
    table = pa.table(
        {
            "id": ids,
            "cue": ["canny"] * PAIRS,
            "edges": [encode_edges(edges) for edges in maps],
            "has_structure": [i % 5 > 0 for i in range(PAIRS)],
            "regions": [REGIONS[: i % 3] for i in range(PAIRS)],
        }
    )
    pq.write_table(table, found.edges / "part-00000.parquet")
    return found


def _random(rng: np.random.Generator, name: str, rows: int, *, frozen: bool) -> np.ndarray:
    if frozen:
        dim = IMAGE_DIM if name == "image" else TEXT_DIM
        return rng.standard_normal((rows, dim)).astype(np.float32)
    if name == "image":
        return rng.integers(0, 256, (rows, IMAGE_PX, IMAGE_PX, 3)).astype(np.uint8)
    if name == "chunks":
        first = rng.integers(1, 4, rows)
        return np.stack([first, first + rng.integers(0, 4, rows)], axis=1).astype(np.int32)
    ids = rng.integers(1000, 9000, (rows, TEXT_LENGTH)).astype(np.int32)
    lengths = rng.integers(8, 20, rows)
    place = np.arange(TEXT_LENGTH)
    ids[place >= lengths[:, None]] = 0
    ids[place == lengths[:, None]] = END_OF_TEXT
    return ids
