"""One decoder for every picture: upright, in true colours, of the right depth, or a reason."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from structxlip.data.images import decode_rgb, encode_jpeg, thumbnail
from structxlip.data.quarantine import BadImage

ROUGH = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
PICTURE = Image.fromarray(ROUGH).resize((60, 40), Image.Resampling.BICUBIC)
GREY = np.asarray(PICTURE.convert("L"))
SHORT, LONG, ASCII, RATIONAL, BYTE, SRATIONAL = 3, 4, 2, 5, 1, 10
# What a viewer does with the stored rows for each orientation of EXIF 2.3, as rows and columns.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a.swapaxes(0, 1)[:, ::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: a.swapaxes(0, 1)[::-1],
}


def exif(*entries: tuple[int, int, int, bytes], header: bytes = b"Exif\0\0") -> bytes:
    """An EXIF block with these entries: tag, type, count, and a value of up to 4 bytes or more."""
    count, places = len(entries), b""
    values, start = b"", 8 + 2 + 12 * count + 4
    for tag, kind, number, value in entries:
        place = value.ljust(4, b"\0")
        if len(value) > 4:
            place, values = struct.pack("<L", start + len(values)), values + value
        places += struct.pack("<HHL", tag, kind, number) + place
    return header + b"II*\0\x08\0\0\0" + struct.pack("<H", count) + places + bytes(4) + values


def orientation(value: int) -> tuple[int, int, int, bytes]:
    return 0x0112, SHORT, 1, struct.pack("<H", value)


def xmp(value: int, *, attribute: bool) -> bytes:
    inside = (
        f'tiff:Orientation="{value}"/>'
        if attribute
        else f"><tiff:Orientation>{value}</tiff:Orientation></rdf:Description>"
    )
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description '
        f"{inside}</rdf:RDF></x:xmpmeta>"
    ).encode()


def encoded(image: Image.Image, kind: str, **how: Any) -> bytes:
    """An encoded image; all but JPEG keep every pixel."""
    out = io.BytesIO()
    if kind == "PNG" and (text := how.pop("xmp", None)):
        how["pnginfo"] = PngInfo()
        how["pnginfo"].add_itxt("XML:com.adobe.xmp", text.decode())
    if kind == "TIFF":
        tags = {0x0112: how.pop("exif")[24]} if "exif" in how else {}
        how["tiffinfo"] = tags | ({700: how.pop("xmp")} if "xmp" in how else {})
    if kind == "WEBP":
        how["lossless"] = True
    image.save(out, kind, **how)
    return out.getvalue()


# --- Orientation


@pytest.mark.parametrize("turn", UPRIGHT)
@settings(max_examples=12)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
    where=st.sampled_from(["exif", "xmp attribute", "xmp element"]),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
)
def test_every_encoder_and_orientation_is_upright(
    turn: int, kind: str, where: str, size: tuple[int, int]
) -> None:
    image = PICTURE.resize(size)
    how = (
        {"exif": exif(orientation(turn))}
        if where == "exif"
        else {"xmp": xmp(turn, attribute="attribute" in where)}
    )
    stored = decode_rgb(encoded(image, kind))
    np.testing.assert_array_equal(decode_rgb(encoded(image, kind, **how)), UPRIGHT[turn](stored))


X_RESOLUTION = 0x011A
BROKEN = {
    "a rational of -1/0": exif(
        orientation(6), (X_RESOLUTION, SRATIONAL, 1, struct.pack("<ll", -1, 0))
    ),
    "a rational of 0/0": exif(orientation(6), (X_RESOLUTION, RATIONAL, 1, bytes(8))),
    "a resolution as text": exif(orientation(6), (X_RESOLUTION, ASCII, 3, b"72\0")),
    "as a byte": exif((0x0112, BYTE, 1, b"\x06")),
    "as a long": exif((0x0112, LONG, 1, b"\x06\0\0\0")),
    "as text": exif((0x0112, ASCII, 2, b"6\0")),
    "as a rational": exif((0x0112, RATIONAL, 1, struct.pack("<LL", 6, 1))),
    "as a list": exif((0x0112, SHORT, 2, struct.pack("<HH", 6, 6))),
    "a doubled header": exif(orientation(6), header=b"Exif\0\0Exif\0\0"),
    "an entry that leads out of the block": exif(
        orientation(6), (0x010E, ASCII, 2**31, struct.pack("<L", 2**31))
    ),
}
SENSELESS = {
    "0": exif(orientation(0)),
    "9": exif(orientation(9)),
    "65535": exif(orientation(65535)),
    "a word": exif((0x0112, ASCII, 4, b"top\0")),
    "a rational of 6/0": exif((0x0112, RATIONAL, 1, struct.pack("<LL", 6, 0))),
    "no value": exif((0x0112, SHORT, 0, b"")),
    "a block that is cut": exif(orientation(6))[:20],
    "no TIFF": b"Exif\0\0 and so on",
    "nothing": b"Exif\0\0",
}


@pytest.mark.parametrize("how", BROKEN)
def test_an_orientation_that_can_be_understood_is_applied(how: str) -> None:
    found = decode_rgb(encoded(PICTURE, "JPEG", exif=BROKEN[how]))
    np.testing.assert_array_equal(found, UPRIGHT[6](decode_rgb(encoded(PICTURE, "JPEG"))))


@pytest.mark.parametrize("how", SENSELESS)
def test_without_sense_the_picture_stays_as_it_is(how: str) -> None:
    found = decode_rgb(encoded(PICTURE, "JPEG", exif=SENSELESS[how]))
    np.testing.assert_array_equal(found, decode_rgb(encoded(PICTURE, "JPEG")))


def test_exif_counts_before_xmp() -> None:
    how = {"exif": exif(orientation(3)), "xmp": xmp(6, attribute=True)}
    found = decode_rgb(encoded(PICTURE, "JPEG", **how))
    np.testing.assert_array_equal(found, UPRIGHT[3](decode_rgb(encoded(PICTURE, "JPEG"))))


# --- Depth


def deep(values: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(values).save(out, kind)
    return out.getvalue()


def grey_of(data: bytes) -> np.ndarray:
    rgb = decode_rgb(data)
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_integers_are_scaled_by_their_depth(bits: int) -> None:
    values = np.rint(GREY / 255.0 * (2**bits - 1)).astype(np.uint16)
    values[0, 0] = 2**bits - 1
    expected = np.rint(values * 255.0 / (2**bits - 1))
    assert np.abs(grey_of(deep(values)) - expected).max() == 0
    assert np.abs(grey_of(deep(values.astype(np.int32), "TIFF")) - expected).max() == 0


def test_a_brightest_value_below_the_depth_keeps_the_depth() -> None:
    values = np.rint(GREY / 255.0 * 3000).astype(np.uint16)
    assert np.abs(grey_of(deep(values)) - values * 255.0 / 4095).max() <= 0.5


def test_big_endian_integers_are_the_same() -> None:
    values = GREY.astype(np.uint16) * 257
    np.testing.assert_array_equal(grey_of(deep(values.astype(">u2"), "TIFF")), GREY)


@pytest.mark.parametrize("top", [0.02, 1.0, 255.0, 4000.0])
def test_fractions_are_scaled_by_the_brightest(top: float) -> None:
    values = (GREY / GREY.max() * top).astype(np.float32)
    expected = GREY * 255.0 / GREY.max()
    assert np.abs(grey_of(deep(values, "TIFF")) - expected).max() <= 0.51
    values[3, 3:6] = np.nan, np.inf, -np.inf
    found = grey_of(deep(values, "TIFF"))
    assert found[3, 3:6].tolist() == [0, 0, 0]
    expected[3, 3:6] = 0
    assert np.abs(found - expected).max() <= 0.51


def test_negative_values_are_stretched() -> None:
    values = (GREY.astype(np.int32) - GREY.min()) * 10 - 1024
    expected = (values + 1024.0) * 255 / (values.max() + 1024)
    assert np.abs(grey_of(deep(values, "TIFF")) - expected).max() <= 0.51


def png16(rgb: np.ndarray) -> bytes:
    """A PNG with 16 bits a channel, which Pillow cannot write."""
    return cv2.imencode(".png", rgb[..., ::-1].astype(np.uint16))[1].tobytes()


def test_colour_of_16_bits() -> None:
    rgb = np.asarray(PICTURE)
    np.testing.assert_array_equal(decode_rgb(png16(rgb.astype(np.uint16) * 257)), rgb)


@pytest.mark.parametrize(
    "data",
    [
        deep(np.zeros((9, 9), np.uint16)),
        deep(np.eye(20, dtype=np.int32), "TIFF"),  # a mask of 0 and 1
        deep(np.maximum(GREY, 65535 * (np.arange(2400).reshape(40, 60) == 7)).astype(np.uint16)),
        deep(np.full((9, 9), np.nan, np.float32), "TIFF"),
        png16(np.asarray(PICTURE) * 16),
    ],
    ids=["black", "mask", "one bright pixel", "no number", "colour of 12 bits"],
)
def test_what_would_be_nearly_black_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage, match="dark_image: 99 % of the pixels are at most"):
        decode_rgb(data)


def test_dark_and_bright_enough() -> None:
    values = np.full((30, 30), 36 * 257, np.uint16)
    values[0, :8] = 65535  # fewer than one pixel in a hundred
    assert set(grey_of(deep(values)).ravel()) == {36, 255}
    values[values < 65535] = 31 * 257
    with pytest.raises(BadImage, match="dark_image"):
        decode_rgb(deep(values))


def test_a_dark_photograph_of_8_bits_is_good() -> None:
    assert decode_rgb(deep(np.zeros((9, 9), np.uint8))).max() == 0


# --- Whatever is in the file, it is pixels or one reason


def frames(kind: str) -> bytes:
    out = io.BytesIO()
    others = [PICTURE.rotate(90), PICTURE.rotate(180)]
    PICTURE.save(out, kind, save_all=True, append_images=others)
    return out.getvalue()


FILES = {
    "jpeg": encoded(PICTURE, "JPEG", exif=BROKEN["a rational of -1/0"]),
    "progressive jpeg": encoded(PICTURE, "JPEG", progressive=True, xmp=xmp(6, attribute=True)),
    "cmyk jpeg": encoded(PICTURE.convert("CMYK"), "JPEG"),
    "png": encoded(PICTURE, "PNG", exif=exif(orientation(6))),
    "palette": encoded(PICTURE.convert("P"), "PNG", transparency=0),
    "deep png": deep(GREY.astype(np.uint16) * 16),
    "animated png": frames("PNG"),
    "gif": frames("GIF"),
    "webp": encoded(PICTURE, "WEBP", exif=exif(orientation(6))),
    "animated webp": frames("WEBP"),
    "tiff": encoded(PICTURE, "TIFF", exif=exif(orientation(6))),
    "packed tiff": encoded(PICTURE, "TIFF", compression="tiff_lzw"),
    "tiff of several pages": frames("TIFF"),
    "tiff of floats": deep(GREY.astype(np.float32), "TIFF"),
    "bmp": encoded(PICTURE, "BMP"),
}


@settings(max_examples=400)
@given(
    kind=st.sampled_from(sorted(FILES)),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=4),
)
def test_damaged_files_are_pixels_or_one_reason(
    kind: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    data = bytearray(FILES[kind])
    for place, value in flips:
        data[int(place * len(data))] = value
    with contextlib.suppress(BadImage):
        rgb = decode_rgb(bytes(data[: round(cut * len(data))]))
        assert rgb.dtype == np.uint8
        assert rgb.ndim == 3
        assert rgb.shape[2] == 3


@pytest.mark.parametrize("kind", ["animated png", "gif", "animated webp", "tiff of several pages"])
def test_the_first_frame_counts(kind: str) -> None:
    difference = decode_rgb(FILES[kind]).astype(int) - np.asarray(PICTURE)
    assert np.abs(difference).mean() < 10


def png_chunk(name: bytes, content: bytes) -> bytes:
    """A PNG whose header is followed by one more chunk."""
    data = encoded(PICTURE, "PNG")
    check = struct.pack(">L", zlib.crc32(name + content))
    return data[:33] + struct.pack(">L", len(content)) + name + content + check + data[33:]


def test_bombs_and_sizes_of_zero_are_refused() -> None:
    packed = zlib.compress(bytes(200_000_000), 9)
    zero = bytearray(encoded(PICTURE, "PNG"))
    zero[16:24] = bytes(8)
    zero[29:33] = struct.pack(">L", zlib.crc32(zero[12:29]))
    for data in (
        png_chunk(b"zTXt", b"key\0\0" + packed),
        png_chunk(b"iTXt", b"key\0\1\0\0\0" + packed),
        png_chunk(b"iCCP", b"key\0\0" + packed),
        bytes(zero),
    ):
        with pytest.raises(BadImage, match="corrupt_image: "):
            decode_rgb(data)


def test_a_cut_file_is_truncated_and_another_one_corrupt() -> None:
    whole = encoded(PICTURE, "JPEG")
    with pytest.raises(BadImage, match=r"^truncated_image: "):
        decode_rgb(whole[: len(whole) // 2])
    with pytest.raises(BadImage, match=r"^corrupt_image: "):
        decode_rgb(b"no picture")


def test_the_largest_picture() -> None:
    out = io.BytesIO()
    Image.new("1", (10_001, 10_000)).save(out, "PNG")
    with pytest.raises(BadImage, match="oversized_image: 10001 x 10000 pixels"):
        decode_rgb(out.getvalue())


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((600, 300), (150, 75)),
        ((3, 300), (2, 150)),
        ((1, 300), (1, 150)),
        ((300, 1), (150, 1)),
        ((2, 1), (150, 75)),
    ],
)
def test_thumbnails_keep_their_shape(size: tuple[int, int], expected: tuple[int, int]) -> None:
    rgb = np.asarray(PICTURE.resize(size))
    found = thumbnail(rgb)
    assert found.shape == (*expected[::-1], 3)
    averaged = cv2.resize(rgb, expected, interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(found, averaged)


def test_a_jpeg_for_a_page_has_the_colours() -> None:
    rgb = np.asarray(PICTURE)
    whole = decode_rgb(encode_jpeg(rgb))
    same_quality = encoded(PICTURE, "JPEG", quality=88)
    tables = [Image.open(io.BytesIO(d)).quantization for d in (encode_jpeg(rgb), same_quality)]  # type: ignore[attr-defined]
    assert tables[0] == tables[1]
    assert np.abs(whole.astype(int) - rgb).mean() < 4
    assert np.abs(whole.mean(axis=(0, 1)) - rgb.mean(axis=(0, 1))).max() < 1


def test_a_huge_colour_profile_does_not_matter() -> None:
    profile = bytes(3_000_000)
    found = decode_rgb(encoded(PICTURE, "JPEG", icc_profile=profile))
    np.testing.assert_array_equal(found, decode_rgb(encoded(PICTURE, "JPEG")))
