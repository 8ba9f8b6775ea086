"""A small model and its index, as they are served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from structxlip.config import Edges
from structxlip.serving.embedder import Embedder
from structxlip.serving.index_files import write_index
from structxlip.serving.search import Searcher
from tests.serving.test_embedder import png, save_model

PICTURES = [png((250 - 30 * i, 60 * i, 20)) for i in range(4)]


@pytest.fixture(scope="session")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Searcher]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("served")
        patch.chdir(folder)
        Path("models/toys").mkdir(parents=True)
        Path("indexes/toys").mkdir(parents=True)
        model = Path("models/toys/structxlip")
        save_model(model, Edges(size_px=64))
        embedder = Embedder(model, 0.5)
        parts = [embedder.embed_parts(image) for image in PICTURES]
        content, edges = (np.array(part, np.float16) for part in zip(*parts, strict=True))
        fused = embedder.embed_images(PICTURES).astype(np.float16)
        names = [f"a/{i} ä.png" for i in range(4)]
        columns = {"id": names, "split": ["train", "train", "test", "test"], "key": names}
        columns |= {"width": [64] * 4, "height": [64] * 4, "thumbnail": PICTURES}
        write_index(
            Path("indexes/toys"),
            settings={
                "model": str(model),
                "digest": embedder.digest,
                "alpha": 0.5,
                "exact_below": 100,
            },
            table=pa.table({**columns, "captions": [[name] for name in names]}),
            arrays={"content": content, "fused": fused, "structure": edges},
        )
        yield Searcher("toys")
