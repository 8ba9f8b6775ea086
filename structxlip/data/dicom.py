"""DICOM images become PNG of 8 bits, grey or colour, as a viewer shows them."""

from __future__ import annotations

import io
import warnings
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.data.images import MAX_PIXELS, grey_levels, refuse_dark
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")
# What pydicom's decoders return as RGB.
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")


def dicom_to_png(data: bytes) -> bytes:
    """Convert a DICOM file with one frame to a PNG of 8 bits.

    Grey goes through the modality LUT or rescale, then through the VOI LUT or the first window, and
    MONOCHROME1 is inverted. A window spans black to white; without one, the darkest pixel is black
    and the brightest one white. Padding is black.

    Raises:
        BadImage: `corrupt_image`, `no_decoder` for an encoding that needs a plugin of pydicom,
            `several_frames`, `oversized_image`, or what comes out without a picture: `dark_image`,
            and `flat_image` for a single grey level.
        UserError: pydicom is not installed.
    """
    try:
        import pydicom
    except ImportError:
        raise UserError("DICOM files need pydicom; run `pip install 'structxlip[dicom]'`") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that break a rule of the standard
            shown = _shown(pydicom.dcmread(io.BytesIO(data)))
    except BadImage:
        raise
    except Exception as error:  # pydicom and its decoders raise many types on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BadImage("corrupt_image", f"no DICOM image that can be read ({reason})") from None
    stored = cv2.cvtColor(shown, cv2.COLOR_RGB2BGR) if shown.ndim == 3 else shown
    return cv2.imencode(".png", stored)[1].tobytes()


def _shown(record: Dataset) -> NDArray[np.uint8]:
    """The picture, ``uint8 [height, width]`` or RGB ``uint8 [height, width, 3]``."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.processing import apply_color_lut
    from pydicom.pixels.utils import pixel_array

    if (frames := int(record.get("NumberOfFrames") or 1)) > 1:
        raise BadImage("several_frames", f"the DICOM file has {frames} frames")
    if record.Rows * record.Columns > MAX_PIXELS:
        raise BadImage("oversized_image", f"{record.Columns} x {record.Rows} pixels")
    encoding = record.file_meta.TransferSyntaxUID
    if encoding.is_compressed and not get_decoder(encoding).is_available:
        raise BadImage("no_decoder", f"install pylibjpeg[all] to read {encoding.name}")
    stored, interpretation = pixel_array(record), record.PhotometricInterpretation
    if interpretation in GREY:
        return _shown_grey(stored, record)
    if interpretation == "PALETTE COLOR":
        rgb = apply_color_lut(stored, record)[..., :3]
        bits = record.RedPaletteColorLookupTableDescriptor[2]
    elif interpretation in COLOUR:
        rgb, bits = stored, record.BitsStored
    else:
        raise BadImage("corrupt_image", f"colours of the kind {interpretation} cannot be read")
    if rgb.max() >= 2**bits:  # the file says 8 bits and fills 16
        bits = 8 * rgb.itemsize
    shown = np.rint(rgb * (255 / (2**bits - 1))).astype(np.uint8)
    if bits > 8:
        refuse_dark(shown)
    return shown


def _shown_grey(stored: NDArray[Any], record: Dataset) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, apply_windowing

    padding = record.get("PixelPaddingValue")
    picture = np.ones(stored.shape, np.bool_) if padding is None else stored != padding
    values = apply_voi_lut(apply_modality_lut(stored, record), record)
    window = record.get("WindowCenter"), record.get("WindowWidth")
    if None in window or record.get("VOILUTSequence"):
        known = values[picture & np.isfinite(values)]
        low, high = float(known.min()), float(known.max())
    else:
        low, high = apply_windowing(np.array([-np.inf, np.inf]), record).tolist()
    if record.PhotometricInterpretation == "MONOCHROME1":
        values, low, high = -values.astype(np.float64), -high, -low
    grey = grey_levels(np.where(picture, values, low), low, high)
    if grey.min() == grey.max():
        raise BadImage("flat_image", "all pixels have one grey level in the window of the file")
    return grey
