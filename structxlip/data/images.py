"""The one place where image bytes become pixels: strict, RGB in the same way for every stage, and
brightness for cues."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

THUMBNAIL_PX = 150
MAX_PIXELS = 100_000_000
_SHRUNK = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


class BadImage(ValueError):
    """Bytes that are not a usable image; ``reason`` is a stable word for reports."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode an encoded image to RGB, ``uint8 [height, width, 3]``.

    The EXIF orientation is applied, transparency is laid on white and 16-bit grey is scaled to 8.
    Raises ``BadImage`` with the reason ``empty_image``, ``corrupt_image``, ``truncated_image`` or
    ``oversized_image``; a truncated file is never filled up with grey.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if not data:
        raise BadImage("empty_image", "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise BadImage("oversized_image", f"{image.width} x {image.height} pixels")
        image.load()
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage("oversized_image", str(error)) from None
    except UnidentifiedImageError:
        raise BadImage("corrupt_image", "no known image format") from None
    except Exception as error:  # Pillow's decoders raise many types on damaged files
        reason = "truncated_image" if "truncated" in str(error).lower() else "corrupt_image"
        raise BadImage(reason, str(error) or type(error).__name__) from None
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I") or image.mode == "F":
        grey = np.asarray(image, dtype=np.float32)
        scale = 257.0 if image.mode.startswith("I") else max(float(grey.max()) / 255.0, 1e-12)
        return np.repeat(np.clip(grey / scale, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return np.array(image.convert("RGB"))


def decode_grey(data: bytes, at_least_px: int, side_px: int) -> NDArray[np.uint8]:
    """Decode an image that ``decode_rgb`` has accepted before to grey, ``uint8 [height, width]``.

    A JPEG, whose shorter side is ``side_px``, is decoded straight to brightness, and shrunk by 2, 4
    or 8 while it is decoded, as long as ``at_least_px`` are left of that side. Raises ``BadImage``
    as ``decode_rgb`` does.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return np.asarray(cv2.cvtColor(decode_rgb(data), cv2.COLOR_RGB2GRAY), np.uint8)
    shrinks = (flag for factor, flag in _SHRUNK.items() if side_px >= factor * at_least_px)
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), next(shrinks, cv2.IMREAD_GRAYSCALE))
    if grey is None:
        raise BadImage("corrupt_image", "no JPEG that can be decoded")
    return np.asarray(grey, np.uint8)


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image, ``uint8 [height, width, 3]``, with ``THUMBNAIL_PX`` on its longer side."""
    scale = THUMBNAIL_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """A JPEG to look at of an image, ``uint8 [height, width, 3]``."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
