"""Grey images for cues: as ``decode_rgb`` sees them, but cheaper."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from structxlip.data.images import decode_grey, decode_rgb
from structxlip.data.quarantine import BadImage

ROUGH = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
PHOTOGRAPH = Image.fromarray(ROUGH).resize((360, 240), Image.Resampling.BICUBIC)


def jpeg(mode: str = "RGB", **how: object) -> bytes:
    out = io.BytesIO()
    PHOTOGRAPH.convert(mode).save(out, "JPEG", **how)  # type: ignore[arg-type]
    return out.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6  # by a quarter
    return jpeg(exif=exif)


@pytest.mark.parametrize(
    "data",
    [jpeg(), jpeg("L"), jpeg("CMYK"), jpeg(progressive=True), jpeg(subsampling=0), turned()],
    ids=["colour", "grey", "cmyk", "progressive", "full chroma", "turned"],
)
@pytest.mark.parametrize(("at_least_px", "shrunk"), [(240, 1), (121, 1), (120, 2), (40, 4), (1, 8)])
def test_a_jpeg_is_shrunk_while_it_is_decoded(data: bytes, at_least_px: int, shrunk: int) -> None:
    whole = cv2.cvtColor(decode_rgb(data), cv2.COLOR_RGB2GRAY)
    expected = cv2.resize(whole, None, fx=1 / shrunk, fy=1 / shrunk, interpolation=cv2.INTER_AREA)
    found = decode_grey(data, at_least_px, side_px=240)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 2


def test_other_formats_are_the_same_to_the_bit() -> None:
    out = io.BytesIO()
    PHOTOGRAPH.convert("RGBA").save(out, "PNG")
    whole = cv2.cvtColor(decode_rgb(out.getvalue()), cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(decode_grey(out.getvalue(), 16, side_px=240), whole)


def test_a_jpeg_that_cannot_be_decoded_is_bad() -> None:
    with pytest.raises(BadImage, match="corrupt_image"):
        decode_grey(jpeg()[:20], 16, side_px=240)
