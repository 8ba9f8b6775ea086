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

from structxlip.data.duplicates import (
    MAX_BITS,
    MAX_COLOUR_DIFFERENCE,
    MIN_CORRELATION,
    HeldOutImages,
    colour_difference,
    colour_words,
    fingerprint,
)
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
    alike = float(np.corrcoef(*thumbnails)[0, 1]) >= MIN_CORRELATION
    assert (held(one).near_duplicate("train", two) is not None) == (near and alike)


# --- Colours

RED, BLUE = "A red T-shirt", "A blue T-shirt"


def garment(colour: tuple[int, int, int]) -> np.ndarray:
    """A garment of one colour on white, with folds that all colours share."""
    image = np.full((160, 120, 3), 255, np.uint8)
    folds = picture(5, (100, 70)).mean(axis=2, keepdims=True) / 255 * 0.4 + 0.6
    image[30:130, 25:95] = folds * np.array(colour)
    return image


COLOURS = {
    "red": (200, 40, 45),
    "blue": (45, 85, 190),
    "navy": (30, 35, 90),
    "black": (30, 30, 32),
    "green": (40, 110, 60),
    "beige": (225, 205, 170),
}


@pytest.mark.parametrize("colour", [name for name in COLOURS if name != "red"])
def test_a_product_in_another_colour_is_another_one(colour: str) -> None:
    held_out = HeldOutImages()
    held_out.add("test", "red", garment(COLOURS["red"]), [RED])
    other = garment(COLOURS[colour])
    assert held_out.near_duplicate("train", other, [f"A {colour} T-shirt"]) is None
    # The same words: a picture whose colours have changed.
    same = held_out.near_duplicate("train", other, ["Again a red one"])
    assert same == held_out.near_duplicate("train", other, [RED])


@pytest.mark.parametrize("change", SAME)
def test_a_copy_is_found_whatever_its_captions_say(change: str) -> None:
    held_out = HeldOutImages()
    held_out.add("test", "red", garment(COLOURS["red"]), [RED])
    if change != "a little brighter":  # its colours have changed by more than a viewer sees
        found = held_out.near_duplicate("train", SAME[change](garment(COLOURS["red"])), [BLUE])
        assert found == ("test", "red")


def test_a_grey_copy_with_the_same_colours_in_words_is_found() -> None:
    held_out = HeldOutImages()
    held_out.add("test", "red", garment(COLOURS["red"]), [RED])
    grey = np.array(Image.fromarray(garment(COLOURS["red"])).convert("L").convert("RGB"))
    assert held_out.near_duplicate("train", grey, ["RED!"]) == ("test", "red")


def test_the_difference_of_colours_is_that_of_lab() -> None:
    black, white = (fingerprint(np.full((9, 9, 3), level, np.uint8)).colours for level in (0, 255))
    assert colour_difference(black, white) == pytest.approx(100, abs=0.1)
    red = np.full((160, 160, 3), 255, np.uint8)
    for share, seen in ((0.05, False), (0.2, True)):
        red[: round(160 * share)] = 255, 0, 0
        difference = colour_difference(white, fingerprint(red).colours)
        assert (difference > MAX_COLOUR_DIFFERENCE) == seen


def test_words_of_colour() -> None:
    captions = ["A Navy-blue shirt (navy)", "no colour", "Rosé, ivory white; redder"]
    assert colour_words(captions) == "blue ivory navy white"


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
