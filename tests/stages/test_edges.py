"""The edge map that is stored shows the picture as the image tower sees it."""

from __future__ import annotations

import io
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from structxlip.config import Params
from structxlip.cues import canny, decode_edges
from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import shards
from structxlip.stages.edges import edges

XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="{}"/></x:xmpmeta>'


def photograph(kind: str, turn: int, how: str, width: int) -> bytes:
    """A photograph of a larger size than the map, with an orientation in EXIF or XMP."""
    rough = np.random.default_rng(turn).integers(0, 255, (6, 9, 3), np.uint8)
    size = (width, 2 * width // 3)
    image = Image.fromarray(rough).resize(size, Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = turn
    out = io.BytesIO()
    said = {"exif": exif} if how == "exif" else {"xmp": XMP.format(turn).encode()}
    image.save(out, kind, **said)  # type: ignore[arg-type]
    return out.getvalue()


def test_pixels_and_edges_are_those_of_one_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: Params
) -> None:
    monkeypatch.chdir(tmp_path)
    kinds = product(("JPEG", "WEBP"), range(1, 9), ("exif", "xmp"), (90, 700))
    pictures = {"-".join(map(str, kind)): photograph(*kind) for kind in kinds}
    pairs = [
        RawPair(name, lambda d=data: d, ("a picture",), name, "test")  # type: ignore[misc]
        for name, data in pictures.items()
    ]
    folder = tmp_path / "data/scenes/pairs"
    folder.mkdir(parents=True)
    splits = iter(("val", "test"))
    write_pairs(
        pairs,
        folder,
        shard_bytes=2**25,
        max_bad_fraction=0,
        split_for=lambda _: next(splits, "train"),
    )
    edges(params, "scenes")
    (shard,) = shards(tmp_path / "data/scenes/edges")
    settings = params.recipe_settings.edges
    for row in pq.read_table(shard).to_pylist():
        rgb = decode_rgb(pictures[row["id"]])
        expected = canny(rgb, size_px=settings.size_px, blur_sigma=settings.blur_sigma)
        np.testing.assert_array_equal(decode_edges(row["edges"]), expected, err_msg=row["id"])
        assert expected.any()
