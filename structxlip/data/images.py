"""Decode image files, the one place where bytes become pixels: RGB, or grey for edge detectors."""

from __future__ import annotations

import io
import warnings

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.data.quarantine import BadImage

THUMBNAIL_PX = 150
MAX_PIXELS = 100_000_000
# OpenCV's flags to shrink a JPEG by a factor while it is decoded, the largest factor first.
_SHRINK_FLAGS = {
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
}


def decode_rgb(data: bytes) -> NDArray[np.uint8]:
    """Decode an encoded image to RGB, ``uint8 [height, width, 3]``.

    The EXIF orientation is applied, transparent pixels are laid on white, and 16-bit grey is scaled
    to 8 bits. A truncated file raises an error; its missing part is never filled with grey.

    Raises:
        BadImage: with the reason `empty_image`, `corrupt_image`, `truncated_image` or
            `oversized_image` (more than ``MAX_PIXELS``).
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
    """Decode an image to grey, ``uint8 [height, width]``. ``decode_rgb`` has accepted it before.

    A JPEG is decoded to grey directly, and shrunk by 2, 4 or 8 while it is decoded, which is much
    faster. The largest factor counts that keeps the shorter side at ``at_least_px`` or more.

    Args:
        data: the encoded image.
        at_least_px: smallest shorter side of the result, in pixels.
        side_px: shorter side of the encoded image, in pixels.

    Raises:
        BadImage: as ``decode_rgb`` does.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return np.asarray(cv2.cvtColor(decode_rgb(data), cv2.COLOR_RGB2GRAY), np.uint8)
    flags = (flag for factor, flag in _SHRINK_FLAGS.items() if side_px >= factor * at_least_px)
    grey = cv2.imdecode(np.frombuffer(data, np.uint8), next(flags, cv2.IMREAD_GRAYSCALE))
    if grey is None:
        raise BadImage("corrupt_image", "no JPEG that can be decoded")
    return np.asarray(grey, np.uint8)


def thumbnail(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Resize an image, ``uint8 [height, width, 3]``, to ``THUMBNAIL_PX`` on its longer side."""
    scale = THUMBNAIL_PX / max(rgb.shape[:2])
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def encode_jpeg(rgb: NDArray[np.uint8]) -> bytes:
    """Encode an image, ``uint8 [height, width, 3]``, as a JPEG of quality 88, for a report page."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
