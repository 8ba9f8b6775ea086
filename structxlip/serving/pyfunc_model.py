"""The registered MLflow model: images or texts to embeddings. MLflow runs this file as code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.pyfunc.model import PythonModel


class StructXLIPModel(PythonModel):
    """Rows with `image` (encoded bytes) or `text` become rows with `embedding`."""

    def load_context(self, context: Any) -> None:
        """Load the embedder from the artifacts of the version."""
        from structxlip.serving.embedder import Embedder

        folder = Path(context.artifacts["model"])
        settings = json.loads(Path(context.artifacts["settings"]).read_text())
        self.embedder = Embedder(folder, settings["alpha"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Embed each row; ``ValueError`` for a row with both or neither of image and text."""
        columns = model_input.reindex(columns=["image", "text"])
        given = columns.notna()
        if (wrong := given.sum(axis=1) != 1).any():
            raise ValueError(f"row {int(np.flatnonzero(wrong)[0])} needs an image or a text")
        embeddings: list[Any] = [None] * len(columns)
        for name, embed in (
            ("image", self.embedder.embed_images),
            ("text", self.embedder.embed_texts),
        ):
            rows = np.flatnonzero(given[name])
            if len(rows):
                found = embed(columns[name].iloc[rows].tolist())
                for row, embedding in zip(rows, found, strict=True):
                    embeddings[row] = embedding.tolist()
        return pd.DataFrame({"embedding": embeddings})


mlflow.models.set_model(StructXLIPModel())
