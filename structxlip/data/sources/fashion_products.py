"""Product photographs with descriptions in HTML, as JSON lines."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import existing, json_lines, need, reader
from structxlip.data.sources.templates import columns_of, filled
from structxlip.data.text import plain_text


class FashionProducts(DatasetEntry):
    """Product photographs with HTML descriptions, as JSON lines."""

    kind: Literal["fashion_products"]
    products: str = Field("products.jsonl", description="The file of the products.")
    images: str = Field("images", description="The folder of the images.")
    caption: str = Field(
        "{name}. {description_html}",
        description="The caption as a template of columns in braces. HTML becomes text.",
    )


def open_fashion_products(dataset: FashionProducts) -> Source:
    """Read the products in the order of the file. A hash of the product cuts the splits."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.products), existing(root, dataset.images)
    caption_columns = columns_of(dataset.caption)
    records = list(json_lines(path))
    for record in records:
        need(record, ("id", "image", *caption_columns), path)
    pairs = (
        RawPair(
            id=str(record["id"]),
            read_image=reader(folder, record["image"]),
            captions=[plain_text(filled(dataset.caption, record))],
            group=str(record["id"]),
            source="fashion_products",
        )
        for record in records
    )
    return Source(pairs, len(records), frozenset())
