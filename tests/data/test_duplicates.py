"""Pictures that come again in a stricter split are found, and others are left alone."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from structxlip.data.duplicates import MAX_BITS, HeldOutImages, fingerprint
from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import index_held_out, write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.shards import shards

RNG = np.random.default_rng(0)


def picture(seed: int, size: tuple[int, int] = (120, 160)) -> np.ndarray:
    """Smooth blobs, as photographs are when they are small."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (7, 9, 3)).astype(np.uint8)
    return np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def stored(rgb: np.ndarray, kind: str = "PNG", **how: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, kind, **how)  # type: ignore[arg-type]
    return out.getvalue()


def held(rgb: np.ndarray, split: str = "test") -> HeldOutImages:
    held_out = HeldOutImages()
    held_out.add(split, "known", rgb)
    return held_out


SAME = {
    "itself": lambda rgb: rgb,
    "packed hard": lambda rgb: decode_rgb(stored(rgb, "JPEG", quality=40)),
    "smaller": lambda rgb: np.array(Image.fromarray(rgb).resize((90, 70))),
    "a little brighter": lambda rgb: np.clip(rgb * 0.9 + 20, 0, 255).astype(np.uint8),
    "noisy": lambda rgb: np.clip(rgb + RNG.normal(0, 3, rgb.shape), 0, 255).astype(np.uint8),
}
OTHER = {
    "another": lambda _rgb: picture(99),
    "flipped": lambda rgb: rgb[:, ::-1].copy(),
    "half of it": lambda rgb: rgb[:, :80].copy(),
    "upside down": lambda rgb: rgb[::-1].copy(),
}


@pytest.mark.parametrize("change", SAME)
def test_nearly_the_same_is_found(change: str) -> None:
    rgb = picture(1)
    assert held(rgb).near_duplicate("train", SAME[change](rgb)) == ("test", "known")


@pytest.mark.parametrize("change", OTHER)
def test_another_picture_is_left_alone(change: str) -> None:
    rgb = picture(1)
    assert held(rgb).near_duplicate("train", OTHER[change](rgb)) is None


def test_only_a_stricter_split_counts() -> None:
    rgb = picture(1)
    assert held(rgb, "val").near_duplicate("train", rgb) == ("val", "known")
    assert held(rgb, "test").near_duplicate("val", rgb) == ("test", "known")
    assert held(rgb, "val").near_duplicate("val", rgb) is None
    assert held(rgb, "val").near_duplicate("test", rgb) is None
    assert HeldOutImages().near_duplicate("train", rgb) is None


def test_plain_pictures_of_one_colour_are_not_all_the_same() -> None:
    white, grey = np.full((50, 50, 3), 255, np.uint8), np.full((50, 50, 3), 128, np.uint8)
    assert held(white).near_duplicate("train", grey) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_the_scan_is_the_definition(first: int, second: int) -> None:
    one, two = picture(first), picture(second)
    bits = [np.unpackbits(fingerprint(rgb)[0]) for rgb in (one, two)]
    near = int((bits[0] != bits[1]).sum()) <= MAX_BITS
    thumbnails = [fingerprint(rgb)[1] for rgb in (one, two)]
    alike = float(np.corrcoef(*thumbnails)[0, 1]) >= 0.99
    assert (held(one).near_duplicate("train", two) is not None) == (near and alike)


def test_what_comes_again_is_listed_and_is_not_bad(tmp_path: Path) -> None:
    names = {
        "a": (1, "train"),
        "b": (2, "train"),
        "c": (3, "val"),
        "d": (4, "val"),
        "e": (1, "test"),
    }
    names |= {"f": (3, "test"), "x": (0, "test")}
    pairs = [
        RawPair(name, (lambda: b"") if name == "x" else lambda s=seed: stored(picture(s)),  # type: ignore[misc]
                ("a",), name, "t", split)
        for name, (seed, split) in names.items()
    ]  # fmt: skip

    def split_for(raw: RawPair) -> str:
        return raw.split or "train"

    report = write_pairs(
        pairs,
        tmp_path,
        shard_bytes=2**24,
        max_bad_fraction=0.2,
        split_for=split_for,
        held_out=index_held_out(pairs, split_for),
    )
    assert pq.read_table(shards(tmp_path)[0])["id"].to_pylist() == ["b", "d", "e", "f"]
    assert report.by_reason() == {"again_in_test": 2, "empty_image": 1}
    assert report.bad_pairs == 1
    listed = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert listed[0]["detail"] == "nearly the picture of e"
