"""Product photographs with descriptions in HTML, as JSON lines."""

from __future__ import annotations

from pathlib import Path

from structxlip.config.datasets import FashionProducts
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import (
    columns_of,
    existing,
    filled,
    json_lines,
    need,
    reader,
)
from structxlip.data.text import plain_text


def open_fashion_products(dataset: FashionProducts) -> Source:
    """Products in the order of their lines; splits are left to a hash of the product."""
    root = Path(dataset.path)
    path, folder = existing(root, dataset.products), existing(root, dataset.images)
    wanted = columns_of(dataset.caption)
    records = list(json_lines(path))
    for record in records:
        need(record, ("id", "image", *wanted), path)
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
