"""Zero-shot classification: the label whose words are nearest to a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structxlip.errors import UserError
from structxlip.serving.embedder import Embedder
from structxlip.serving.image_index import ImageIndex


class _Texts(list[str]):
    """Texts where open_clip's builder expects tokens."""

    def to(self, _: Any) -> _Texts:
        return self


class _Model:
    """A model that open_clip's builder of classifiers can call."""

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder

    def encode_text(self, texts: _Texts, normalize: bool) -> Tensor:
        return torch.from_numpy(self.embedder.embed_texts(texts))


def label_embeddings(embedder: Embedder, labels: Sequence[str]) -> NDArray[np.float32]:
    """Unit embeddings ``[C, D]`` of labels: the means over open_clip's 80 templates of ImageNet,
    such as "a photo of a {label}." (Radford et al., 2021)."""
    import open_clip

    weights: Tensor = open_clip.build_zero_shot_classifier(
        _Model(embedder), _Texts, list(labels), open_clip.OPENAI_IMAGENET_TEMPLATES
    )
    return weights.T.numpy()


def classify(index: ImageIndex, embedder: Embedder, labels: Sequence[str]) -> NDArray[np.int64]:
    """The place of the best label for each image of an index, ``[N]``, by `fused`."""
    words = label_embeddings(embedder, labels)
    images = index.arrays["fused"] if "fused" in index.arrays else index.arrays["content"]
    return np.asarray((images.astype(np.float32) @ words.T).argmax(axis=1), np.int64)


def read_labels(file: Path) -> tuple[list[str], Mapping[str, str]]:
    """The labels of a file, and the true label by the id of images where it tells it.

    Args:
        file: a text with one label a line, or a table (CSV, TSV, Parquet) with the columns `id` and
            `label`, whose labels are those that it names.

    Raises ``UserError`` for a file that is neither, or names fewer than two labels.
    """
    import pandas as pd

    kind = file.suffix.lower()
    true: dict[str, str] = {}
    try:
        if kind in (".csv", ".tsv", ".parquet"):
            separator = "\t" if kind == ".tsv" else ","
            table = (
                pd.read_parquet(file)
                if kind == ".parquet"
                else pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False)
            )
            if not {"id", "label"} <= set(table.columns):
                raise UserError(f"{file} needs the columns id and label", 2)
            true = dict(zip(table["id"].astype(str), table["label"].astype(str), strict=True))
            found = sorted(set(true.values()) - {""})
        else:
            lines = file.read_text(encoding="utf-8").splitlines()
            found = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({error})", 2) from None
    if len(found) < 2:
        raise UserError(f"{file} names {len(found)} labels; two or more are needed", 2)
    return found, {name: label for name, label in true.items() if label}
