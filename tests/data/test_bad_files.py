"""Files as real datasets hold them are converted correctly, or refused with a reason."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from structxlip.data.images import decode_rgb
from structxlip.data.ingestion import write_pairs
from structxlip.data.pairs import RawPair
from structxlip.data.readers.files import reader
from structxlip.data.shards import shards

NOISE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **how: object) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(NOISE).convert(mode).resize(size)
    image.save(out, kind, **how)  # type: ignore[arg-type]
    return out.getvalue()


def deep() -> bytes:
    out = io.BytesIO()
    Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257).save(out, "PNG")
    return out.getvalue()


def floating() -> bytes:
    out = io.BytesIO()
    Image.fromarray(NOISE[..., 0].astype(np.float32)).save(out, "TIFF")
    return out.getvalue()


def animated(kind: str) -> bytes:
    frames = [Image.fromarray(NOISE), Image.fromarray(255 - NOISE)]
    return encoded_frames(frames, kind)


def encoded_frames(frames: list[Image.Image], kind: str) -> bytes:
    out = io.BytesIO()
    frames[0].save(out, kind, save_all=True, append_images=frames[1:])
    return out.getvalue()


def seen_through() -> bytes:
    out = io.BytesIO()
    Image.fromarray(NOISE).convert("P").save(out, "PNG", transparency=0)
    return out.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded("JPEG", exif=exif)


def bomb() -> bytes:
    out = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(out, "PNG")
    return out.getvalue()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


IMAGES: dict[str, tuple[Callable[[], bytes], str]] = {
    "jpeg": (lambda: encoded("JPEG"), "good"),
    "progressive jpeg": (lambda: encoded("JPEG", progressive=True), "good"),
    "grey jpeg": (lambda: encoded("JPEG", "L"), "good"),
    "cmyk jpeg": (lambda: encoded("JPEG", "CMYK"), "good"),
    "jpeg turned by its exif": (turned, "good"),
    "jpeg with bytes after its end": (lambda: encoded("JPEG") + b"more", "good"),
    "png": (lambda: encoded("PNG"), "good"),
    "png of 16 bits": (deep, "good"),
    "png of 1 bit": (lambda: encoded("PNG", "1"), "good"),
    "png with a palette": (lambda: encoded("PNG", "P"), "good"),
    "png with a transparent colour": (seen_through, "good"),
    "png with alpha": (lambda: encoded("PNG", "RGBA"), "good"),
    "grey png with alpha": (lambda: encoded("PNG", "LA"), "good"),
    "png with bytes after its end": (lambda: encoded("PNG") + b"more", "good"),
    "webp": (lambda: encoded("WEBP"), "good"),
    "bmp": (lambda: encoded("BMP"), "good"),
    "tiff": (lambda: encoded("TIFF"), "good"),
    "tiff of floats": (floating, "good"),
    "gif": (lambda: encoded("GIF", "P"), "good"),
    "animated gif": (lambda: animated("GIF"), "good"),
    "animated webp": (lambda: animated("WEBP"), "good"),
    "animated png": (lambda: animated("PNG"), "good"),
    "no bytes": (lambda: b"", "empty_image"),
    "zeros": (lambda: bytes(5000), "corrupt_image"),
    "text": (lambda: b"a picture of a dog", "corrupt_image"),
    "html page of an error": (lambda: b"<!DOCTYPE html><h1>404</h1>", "corrupt_image"),
    "svg": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"/>', "corrupt_image"),
    "pdf": (lambda: b"%PDF-1.7 and so on", "corrupt_image"),
    "zip": (lambda: b"PK\x03\x04 and so on", "corrupt_image"),
    "signature of a png alone": (lambda: b"\x89PNG\r\n\x1a\n", "corrupt_image"),
    "start of a jpeg alone": (lambda: encoded("JPEG")[:20], "corrupt_image"),
    "png with a wrong checksum": (lambda: flipped(encoded("PNG"), 60), "corrupt_image"),
    "cut jpeg": (lambda: cut(encoded("JPEG")), "truncated_image"),
    "cut png": (lambda: cut(encoded("PNG")), "truncated_image"),
    "cut gif": (lambda: cut(encoded("GIF", "P")), "truncated_image"),
    "cut bmp": (lambda: cut(encoded("BMP")), "truncated_image"),
    "cut webp": (lambda: cut(encoded("WEBP")), "corrupt_image"),
    "cut tiff": (lambda: cut(encoded("TIFF")), "truncated_image"),
    "decompression bomb": (bomb, "oversized_image"),
    "one pixel": (lambda: encoded("PNG", size=(1, 1)), "tiny_image"),
    "a line of pixels": (lambda: encoded("PNG", size=(500, 2)), "tiny_image"),
}


def outcome(tmp_path: Path, read: Callable[[], bytes], *captions: str) -> str:
    """The reason of the quarantine of a pair, or "good"."""
    good = [RawPair(s, lambda: encoded("PNG"), ("a",), s, "t", s) for s in ("train", "val", "test")]
    pair = RawPair("x", read, captions or ("a dog",), "x", "t", "train")
    (tmp_path / "out").mkdir()
    write_pairs(
        [pair, *good],
        tmp_path / "out",
        shard_bytes=2**24,
        max_bad_fraction=1.0,
        split_for=lambda raw: raw.split or "train",
    )
    ids = pq.read_table(shards(tmp_path / "out")[0])["id"].to_pylist()
    refused = pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert ids == ([] if refused else ["x"]) + ["train", "val", "test"]
    return refused[0]["reason"] if refused else "good"


@pytest.mark.parametrize("kind", IMAGES)
def test_image(tmp_path: Path, kind: str) -> None:
    make, expected = IMAGES[kind]
    assert outcome(tmp_path, make) == expected


@pytest.mark.parametrize("kind", [kind for kind, (_, result) in IMAGES.items() if result == "good"])
def test_what_is_converted_looks_right(kind: str) -> None:
    found = decode_rgb(IMAGES[kind][0]())
    height, width = (60, 40) if "turned" in kind else (40, 60)
    assert found.shape == (height, width, 3)
    reference = np.rot90(NOISE, -1) if "turned" in kind else NOISE
    likeness = np.corrcoef(found.mean(-1).ravel(), reference.mean(-1).ravel())[0, 1]
    # Red alone was stored where there is one channel of many bits.
    assert likeness > (0.3 if "16 bits" in kind or "floats" in kind or "1 bit" in kind else 0.6)


PLACES: dict[str, tuple[str, str]] = {
    "missing file": ("gone.jpg", "missing_image"),
    "folder": ("folder.jpg", "unreadable_image"),
    "way out": ("../secret.png", "outside_folder"),
    "link out": ("link.png", "outside_folder"),
    "link inside": ("inside.png", "good"),
    "wrong extension": ("png.jpg", "good"),
    "link to nowhere": ("dangling.png", "missing_image"),
}


@pytest.mark.parametrize("kind", PLACES)
def test_place(tmp_path: Path, kind: str) -> None:
    name, expected = PLACES[kind]
    folder = tmp_path / "set"
    (folder / "folder.jpg").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(encoded("PNG"))
    (folder / "png.jpg").write_bytes(encoded("PNG"))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "inside.png").symlink_to(folder / "png.jpg")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    assert outcome(tmp_path, reader(folder, name)) == expected


def test_a_name_that_is_not_utf8_is_listed(tmp_path: Path) -> None:
    assert outcome(tmp_path, reader(tmp_path, "caf\udce9.png", place="t.csv, line 2")) == (
        "missing_image"
    )
    (found,) = pq.read_table(tmp_path / "out/quarantine.parquet").to_pylist()
    assert found["detail"] == r"caf\udce9.png is a file that does not exist (t.csv, line 2)"


def test_at_least_forty_kinds() -> None:
    assert len(IMAGES) + len(PLACES) >= 40
