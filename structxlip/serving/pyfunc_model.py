"""The registered MLflow model: images or texts to embeddings. MLflow runs this file as code."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModel

from structxlip.errors import UserError

RULE = (
    "a row has an `image` (the bytes of a picture, in JSON as base64) or a `text`; beside an image "
    "there may be its edge map, `edges`; columns of other names are not read"
)


class StructXLIPModel(PythonModel):
    """Rows with `image` or `text` become rows with `embedding`.

    Pictures and edge maps are encoded bytes, or their base64, as JSON needs it. MLflow's own types
    of columns are not used: it cannot decode a column in which a row has nothing.
    """

    def load_context(self, context: Any) -> None:
        """Load the embedder from the artifacts of the version."""
        from structxlip.serving.embedder import Embedder

        folder = Path(context.artifacts["model"])
        settings = json.loads(Path(context.artifacts["settings"]).read_text())
        self.embedder = Embedder(folder, settings["alpha"])

    def predict(
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Embed each row. A request that breaks ``RULE`` raises an ``MlflowException``, which a
        server answers with 400; it names the row, counted from 0."""
        rows = _rows(model_input)
        images, texts, edges = (_cells(rows, *column) for column in COLUMNS)
        for row, (image, text, given) in enumerate(zip(images, texts, edges, strict=True)):
            if (image is None) == (text is None):
                raise _refusal(f"row {row} has {'neither' if text is None else 'both'} of the two")
            if given is not None and image is None:
                raise _refusal(f"row {row} has edges without an image")
        embeddings: list[Any] = [None] * len(rows)
        with_image = [row for row, image in enumerate(images) if image is not None]
        try:
            found = self.embedder.embed_images(
                [images[row] for row in with_image], [edges[row] for row in with_image]
            )
        except (UserError, ValueError) as error:
            # The embedder counts the images that it gets.
            raise _refusal(
                re.sub(r"\bimage (\d+)", lambda n: f"row {with_image[int(n[1])]}", str(error))
            ) from None
        with_text = [row for row, text in enumerate(texts) if text is not None]
        for row, embedding in zip(
            with_image + with_text,
            [*found, *self.embedder.embed_texts([texts[row] for row in with_text])],
            strict=True,
        ):
            embeddings[row] = embedding.tolist()
        return pd.DataFrame({"embedding": embeddings})


def _rows(given: pd.DataFrame) -> pd.DataFrame:
    """The rows of a request with the columns that are read."""
    names = [name for name, _ in COLUMNS]
    known = [name for name in names if name in given]
    if not known:
        raise _refusal("no column of the request is read")
    if len(given) == 1 and all(isinstance(cell, list) for cell in given[known].iloc[0]):
        given = given.explode(known)  # MLflow makes one row of `inputs` that are lists of texts
    if not len(given):
        raise _refusal("the request has no row")
    return given.reindex(columns=names)


def _cells(rows: pd.DataFrame, name: str, read: Callable[[Any], Any]) -> list[Any]:
    """The values of a column; None where a row has none."""
    cells = []
    for row, (cell, present) in enumerate(zip(rows[name], rows[name].notna(), strict=True)):
        try:
            cells.append(read(cell) if present else None)
        except ValueError as error:
            raise _refusal(f"row {row}: `{name}` {error}") from None
    return cells


def _bytes(cell: Any) -> bytes:
    if isinstance(cell, str):
        try:
            return base64.b64decode("".join(cell.split()), validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
    if not isinstance(cell, bytes | bytearray | memoryview):
        raise ValueError(f"is of type {type(cell).__name__}")
    return bytes(cell)


def _text(cell: Any) -> str:
    if not isinstance(cell, str):
        raise ValueError(f"is of type {type(cell).__name__}")
    if not cell.strip():
        raise ValueError("is empty")
    return cell


COLUMNS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("image", _bytes),
    ("text", _text),
    ("edges", _bytes),
)


def _refusal(problem: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"{problem}; {RULE}")


mlflow.models.set_model(StructXLIPModel())
