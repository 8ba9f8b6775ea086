"""Decode image files: the one place where bytes become pixels."""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from structxlip.data.quarantine import BadImage

THUMBNAIL_PX = 150
MAX_PIXELS = 100_000_000
# Of 255. A picture of many bits whose pixels are nearly all darker was scaled by a wrong depth.
DARK = 32
# What undoes each orientation of EXIF.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode an encoded image to RGB, ``uint8 [height, width, 3]``.

    The orientation of EXIF or XMP is applied, transparent pixels are laid on white, and grey of
    more than 8 bits is scaled to 8 by ``grey_levels``. Of several frames the first counts. A
    truncated file raises an error; its missing part is never filled with grey.

    Raises:
        BadImage: and nothing else, with the reason `empty_image`, `corrupt_image`,
            `truncated_image`, `oversized_image` (more than ``MAX_PIXELS``) or `dark_image`.
    """
    if not data:
        raise BadImage("empty_image", "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata; large images are refused below
            return _decode(data)
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage("oversized_image", str(error)) from None
    except UnidentifiedImageError:
        raise BadImage("corrupt_image", "no known image format") from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        reason = "truncated_image" if "truncated" in str(error).lower() else "corrupt_image"
        raise BadImage(reason, str(error) or type(error).__name__) from None


def _decode(data: bytes) -> NDArray[np.uint8]:
    return rgb_pixels(Image.open(io.BytesIO(data)))


def rgb_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of a picture of Pillow, as ``decode_rgb`` gives those of its file.

    Raises ``BadImage`` for `oversized_image` and `dark_image`, and what Pillow raises for a file
    that it reads only now.
    """
    if image.width * image.height > MAX_PIXELS:
        raise BadImage("oversized_image", f"{image.width} x {image.height} pixels")
    deep_colour = any(";16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    image.load()
    if (turn := _UPRIGHT.get(_orientation(image))) is not None:
        image = image.transpose(turn)
    if image.mode.startswith("I") or image.mode == "F":
        return np.repeat(grey_levels(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    rgb = np.array(image.convert("RGB"))
    if deep_colour:  # Pillow takes the upper 8 bits of 16
        refuse_dark(rgb)
    return rgb


def _orientation(image: Image.Image) -> int:
    """The orientation of EXIF or XMP, 1 to 8; 1 where neither can be read.

    Pictures in the wild store the number as a byte, a text, a fraction or a list too.
    """
    try:
        value: Any = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value[0] if isinstance(value, (bytes, tuple)) else value)
    except Exception:  # broken metadata raises many types, and says nothing about the pixels
        return 1


def grey_levels(
    values: NDArray[Any], low: float | None = None, high: float | None = None
) -> NDArray[np.uint8]:
    """Scale a grey picture of any depth, ``[height, width]``, to ``uint8``.

    Without ``low`` and ``high``, integers have the depth of 8, 10, 12, 14, 16 or more bits that
    holds the brightest of them. Fractions and pictures with negative values have no depth: they
    are stretched from the darkest value, at most 0, to the brightest one. What is no finite number
    becomes black.

    Args:
        values: the picture.
        low: the value that becomes black.
        high: the value that becomes white.

    Raises:
        BadImage: `dark_image` when 99 % of the pixels come out below ``DARK``.
    """
    finite = np.isfinite(values)
    if low is None or high is None:
        known = values[finite]
        low, high = min(0.0, float(known.min(initial=0))), float(known.max(initial=0))
        if low == 0 and np.issubdtype(values.dtype, np.integer):
            bits = int(high).bit_length()
            high = 2.0 ** max(8, bits + bits % 2) - 1
    shares = (np.where(finite, values, low).astype(np.float32) - low) / (high - low or 1.0)
    grey = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
    refuse_dark(grey)
    return grey


def refuse_dark(pixels: NDArray[np.uint8]) -> None:
    """Raise ``BadImage`` when 99 % of the values of a picture are below ``DARK``."""
    brightness = float(np.percentile(pixels, 99))
    if brightness < DARK:
        raise BadImage(
            "dark_image",
            f"99 % of the pixels are at most {brightness:.0f} of 255; store 8 bits a channel",
        )


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an image, ``uint8 [height, width, 3]``, to ``THUMBNAIL_PX`` on its longer side."""
    scale = THUMBNAIL_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an image, ``uint8 [height, width, 3]``, as a JPEG of quality 88, for a report page."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
