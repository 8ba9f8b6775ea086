"""DeepFashion-MultiModal: one description for each image, several images for each product."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair, captions_in
from structxlip.data.readers.files import existing, read_json, reader
from structxlip.data.sources.base import Source, source_of

# The product of a file name such as WOMEN-Dresses-id_00000021-01_1_front.jpg.
PRODUCT = re.compile(r"^(.*id_\d+)")


class DeepFashionMultimodal(DatasetEntry):
    """DeepFashion-MultiModal: captions.json and images/.

    All images of a product are in one split.
    """

    kind: Literal["deepfashion_multimodal"]
    captions: str = Field("captions.json", description="The JSON file of the captions.")
    images: str = Field("images", description="The folder of the images.")


def open_deepfashion_multimodal(dataset: DeepFashionMultimodal) -> Source:
    """Read the images in the order of the captions. A hash of the product cuts the splits."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.captions), existing(root, dataset.images)
    pairs = [
        RawPair(
            id=name,
            read_image=reader(folder, name, roots=dataset.link_roots),
            captions=captions_in(caption, f"{name} in {path.name}"),
            group=found[1] if (found := PRODUCT.match(name)) else name,
            source="deepfashion_multimodal",
        )
        for name, caption in read_json(path, dict).items()
    ]
    return source_of(pairs)
