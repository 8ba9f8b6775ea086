"""DeepFashion-MultiModal: one description a picture, several pictures a product."""

from __future__ import annotations

import re
from pathlib import Path

from structxlip.config.datasets import DeepFashionMultimodal
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, read_json, reader

# WOMEN-Dresses-id_00000021-01_1_front.jpg
PRODUCT = re.compile(r"^(.*id_\d+)")


def open_deepfashion_multimodal(dataset: DeepFashionMultimodal) -> Source:
    """Pictures in the order of the captions; splits are left to a hash of the product."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.captions), existing(root, dataset.images)
    captions = read_json(path, dict)
    pairs = (
        RawPair(
            id=name,
            read_image=reader(folder, name),
            captions=[caption] if isinstance(caption, str) else list(caption),
            group=found[1] if (found := PRODUCT.match(name)) else name,
            source="deepfashion_multimodal",
        )
        for name, caption in captions.items()
    )
    return Source(pairs, len(captions), frozenset())
