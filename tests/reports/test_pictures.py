"""Pages show the quarantine: counts by reason and some samples."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from structxlip.data.images import decode_rgb, encode_jpeg
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import Rejected, write_quarantine
from structxlip.reports.pictures import SHOWN, read_quarantine


def test_what_was_left_out_is_counted_and_shown_with_its_picture(tmp_path: Path) -> None:
    blue = encode_jpeg(np.full((300, 200, 3), (0, 0, 200), np.uint8))
    for stage in ("pairs", "edges", "captions"):
        (tmp_path / stage).mkdir()
    raw = [RawPair(name, lambda: blue, ("a dog",), name, "t", name) for name in ("train", "val")]
    raw += [RawPair(f"n{i}", lambda: blue, ("",), "n", "t", "train") for i in range(SHOWN + 3)]
    raw += [RawPair("test", lambda: blue, ("a dog",), "t", "t", "test")]
    raw += [RawPair("gone", bytes, ("a dog",), "g", "t", "test")]
    raw += [RawPair("test", lambda: blue, ("a dog",), "t", "t", "test")]
    write_pairs(
        raw,
        tmp_path / "pairs",
        shard_bytes=2**20,
        max_bad_fraction=1,
        split_for=lambda pair: pair.split or "train",
    )
    write_quarantine([Rejected("val", "no_edges", "too blue")], tmp_path / "edges")
    write_quarantine([], tmp_path / "captions")
    found = read_quarantine(tmp_path)
    assert found.counts == {
        "duplicate_id": 1,
        "empty_caption": SHOWN + 3,
        "empty_image": 1,
        "no_caption": SHOWN + 3,
        "no_edges": 1,
    }
    pictures = {(row["id"], row["reason"]): row["image"] for row in found.shown}
    assert len(pictures) == 2 * SHOWN + 3
    assert pictures.pop(("gone", "empty_image")) is None
    assert pictures.pop(("test", "duplicate_id")) is None, "the one that was kept is another"
    for url in pictures.values():
        rgb = decode_rgb(base64.b64decode(str(url).partition(",")[2]))
        assert rgb.shape == (150, 100, 3)
        assert rgb[..., 2].min() > 150
