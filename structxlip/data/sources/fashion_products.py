"""Product photographs with descriptions in HTML, as JSON lines."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.readers.files import existing
from structxlip.data.readers.records import Record, line_records, need_fields, pairs_of
from structxlip.data.readers.templates import captions_from, columns_of
from structxlip.data.sources.base import Source, source_of


class FashionProducts(DatasetEntry):
    """Product photographs with HTML descriptions, as JSON lines."""

    kind: Literal["fashion_products"]
    products: str = Field("products.jsonl", description="The file of the products.")
    images: str = Field("images", description="The folder of the images.")
    caption: str = Field(
        "{name}. {description_html}",
        description="The caption as a template of columns in braces.",
    )
    html: bool = Field(True, description="Whether captions are HTML, which becomes text.")


def open_fashion_products(dataset: FashionProducts) -> Source:
    """Read the products in the order of the file. A hash of the product cuts the splits."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.products), existing(root, dataset.images)
    records = list(line_records(path))
    need_fields(records, ("id", "image", *columns_of(dataset.caption)), path)
    make = partial(_pair, folder=folder, dataset=dataset)
    return source_of(*pairs_of(records, "fashion_products", make))


def _pair(record: Record, folder: Path, dataset: FashionProducts) -> RawPair:
    name = record.name("id")
    return RawPair(
        id=name,
        read_image=record.file("image", folder, dataset),
        captions=captions_from(dataset.caption, record),
        group=name,
        source="fashion_products",
    )
