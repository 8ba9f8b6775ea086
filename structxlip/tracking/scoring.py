"""What a packaged model makes of the test split, in a process that runs the package's own code."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from structxlip.errors import UserError
from structxlip.evaluation.retrieval import Ranks, retrieval_ranks
from structxlip.tracking.split import TestSplit

SCRIPT = Path(__file__).with_name("score_package.py")


@dataclass(frozen=True)
class Scored:
    """The embeddings of a split by one model.

    Attributes:
        images: ``[N, D]``.
        texts: ``[M, D]``.
        latency_ms: of one text as a query, the 95th percentile.
    """

    images: NDArray[np.float32]
    texts: NDArray[np.float32]
    latency_ms: float

    def ranks(self, test: TestSplit, chosen: NDArray[np.bool_]) -> Ranks:
        """The ranks among the chosen images, ``[N]``, and their captions."""
        of_texts = chosen[test.text_to_image]
        return retrieval_ranks(
            self.images[chosen],
            self.texts[of_texts],
            test.owners(chosen),
            test.groups[chosen],
        )


def score_package(package: Path, test: TestSplit) -> Scored:
    """Embed the test split with a package, as ``embed_with_package`` does."""
    return embed_with_package(package, test.images, test.edges, test.texts)


def embed_with_package(
    package: Path, images: list[bytes], edges: list[bytes | None], texts: list[str]
) -> Scored:
    """Embed encoded images, with edge maps that came along, and texts, in a fresh process.

    Raises ``UserError`` for a package that does not load or answer.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pd.DataFrame({"image": images, "edges": edges}).to_parquet(folder / "images.parquet")
        pd.DataFrame({"text": texts}).to_parquet(folder / "texts.parquet")
        done = subprocess.run(
            # -P: the folder of the script does not become one to import from.
            [sys.executable, "-P", str(SCRIPT), str(package.resolve()), str(folder)],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise UserError(f"the package {package} does not load or answer: {why}")
        return Scored(
            np.load(folder / "images.npy"),
            np.load(folder / "texts.npy"),
            json.loads((folder / "told.json").read_text())["latency_ms"],
        )
