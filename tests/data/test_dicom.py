"""DICOM files become the picture that a viewer shows, or a reason; pydicom's own files are read."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space, pixel_array
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEGLosslessSV1,
    RLELossless,
    SecondaryCaptureImageStorage,
)

from structxlip.data.dicom import dicom_to_png
from structxlip.data.quarantine import BadImage

TEST_FILES = Path(pydicom.__file__).parent / "data/test_files"
SMALL = 20_000  # bytes; a few larger ones are read too
LARGER = ("CT_small.dcm", "examples_palette.dcm", "examples_rgb_color.dcm", "examples_jpeg2k.dcm")


def shipped() -> Iterator[Path]:
    for path in sorted(TEST_FILES.rglob("*")):
        of_dicom = path.suffix in (".dcm", "") and path.is_file()
        if of_dicom and (path.stat().st_size < SMALL or path.name in LARGER):
            yield path


def shown(data: bytes) -> np.ndarray:
    """The picture as grey or RGB."""
    found = cv2.imdecode(np.frombuffer(dicom_to_png(data), np.uint8), cv2.IMREAD_UNCHANGED)
    assert found is not None
    assert found.dtype == np.uint8
    return found[..., ::-1] if found.ndim == 3 else found


def by_definition(record: Any) -> np.ndarray:
    """The picture by pydicom's own steps, as shares of white."""
    kind, stored = record.PhotometricInterpretation, pixel_array(record, raw=True)
    if kind == "PALETTE COLOR":
        rgb = apply_color_lut(stored, record)
        return rgb / (2.0 ** (8 * rgb.itemsize) - 1)
    if kind.startswith("YBR_FULL"):
        return convert_color_space(stored, kind, "RGB") / 255.0
    if kind in ("RGB", "YBR_RCT", "YBR_ICT"):
        return stored / (2.0**record.BitsStored - 1)
    values = apply_voi_lut(apply_modality_lut(stored, record), record).astype(float)
    low, high = values.min(), values.max()
    if "WindowWidth" in record and "VOILUTSequence" not in record:
        least, most = np.array([0, 2.0**record.BitsStored - 1])
        if record.PixelRepresentation:
            least, most = least - (most + 1) / 2, most - (most + 1) / 2
        if "RescaleSlope" in record:
            least, most = (
                end * record.RescaleSlope + record.RescaleIntercept for end in (least, most)
            )
        low, high = float(least), float(most)
    shares = (values - low) / (high - low)
    return 1 - shares if kind == "MONOCHROME1" else shares


def test_the_files_of_pydicom_look_as_it_says() -> None:
    outcomes: dict[str, int] = {}
    for path in shipped():
        try:
            found = shown(path.read_bytes())
        except BadImage as bad:
            outcomes[bad.reason] = outcomes.get(bad.reason, 0) + 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            record = pydicom.dcmread(path)
            expected = by_definition(record)
        picture = np.ones(found.shape[:2], bool)
        if "PixelPaddingValue" in record:
            picture = pixel_array(record) != record.PixelPaddingValue
        difference = np.abs(found - 255 * expected)[picture]
        assert difference.max() <= 0.51, path.name
        outcomes["good"] = outcomes.get("good", 0) + 1
    assert outcomes["good"] > 50
    assert {"several_frames", "flat_image", "no_decoder", "corrupt_image"} <= set(outcomes)


# --- Files made here


def dicom(pixels: np.ndarray, kind: str = "MONOCHROME2", **how: Any) -> bytes:
    """A DICOM file of a picture, ``uint16 [h, w]`` or ``uint8 [h, w, 3]``, and more attributes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = how.pop("encoding", ExplicitVRLittleEndian)
    record = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    record.SOPClassUID, record.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    bits = 8 * pixels.itemsize
    record.Rows, record.Columns = pixels.shape[:2]
    record.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        record.PlanarConfiguration = 0
    record.BitsAllocated, record.BitsStored, record.HighBit = bits, bits, bits - 1
    record.PixelRepresentation, record.PhotometricInterpretation = 0, kind
    data = pixels.tobytes()
    record.PixelData = encapsulate([data]) if meta.TransferSyntaxUID.is_compressed else data
    for name, value in how.items():
        setattr(record, name, value)
    out = io.BytesIO()
    record.save_as(out)
    return out.getvalue()


RAMP = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)
CT = {"RescaleSlope": 1, "RescaleIntercept": -1024, "WindowCenter": 40, "WindowWidth": 400}


def test_a_window_counts_in_units_after_the_rescale() -> None:
    found = shown(dicom(RAMP, **CT))
    units = RAMP.astype(float) - 1024
    expected = np.clip((units - 39.5) / 399 + 0.5, 0, 1) * 255
    assert np.abs(found - expected).max() <= 0.51
    inverted = shown(dicom(RAMP, "MONOCHROME1", **CT))
    assert np.abs(inverted.astype(int) + found - 255).max() <= 1


def test_the_first_of_several_windows_counts() -> None:
    several = CT | {"WindowCenter": [40, 500], "WindowWidth": [400, 2000]}
    np.testing.assert_array_equal(shown(dicom(RAMP, **several)), shown(dicom(RAMP, **CT)))


def test_without_a_window_the_range_of_the_picture_counts() -> None:
    found = shown(dicom(RAMP + 1000))
    assert np.abs(found - RAMP * 255.0 / RAMP.max()).max() <= 0.51
    half = {"WindowCenter": 2000}  # no width
    np.testing.assert_array_equal(shown(dicom(RAMP + 1000, **half)), found)


@pytest.mark.parametrize("kind", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_does_not_stretch(kind: str) -> None:
    padded = RAMP + 1000
    padded[:4] = 63536
    found = shown(dicom(padded, kind, PixelPaddingValue=63536))
    assert not found[:4].any()
    np.testing.assert_array_equal(found[4:], shown(dicom(padded[4:], kind)))


def test_colours_are_not_swapped() -> None:
    rgb = np.zeros((8, 8, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = 200, np.arange(8) * 10
    np.testing.assert_array_equal(shown(dicom(rgb, "RGB")), rgb)
    ybr = convert_color_space(rgb, "RGB", "YBR_FULL")
    assert np.abs(shown(dicom(ybr, "YBR_FULL")).astype(int) - rgb).max() <= 2


def palette(entries: np.ndarray, bits: int) -> dict[str, Any]:
    """A palette with ``uint16 [256, 3]`` entries."""
    found: dict[str, Any] = {}
    for name, values in zip(("Red", "Green", "Blue"), entries.T, strict=True):
        found[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        found[f"{name}PaletteColorLookupTableData"] = values.astype(np.uint16).tobytes()
    return found


@pytest.mark.parametrize(("bits", "scale"), [(16, 257), (8, 1), (8, 257)])
def test_palettes_of_8_and_16_bits_give_their_colours(bits: int, scale: int) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (256, 3))
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found = shown(dicom(indices, "PALETTE COLOR", **palette(colours * scale, bits)))
    np.testing.assert_array_equal(found, colours[indices])


BAD = {
    "no DICOM": (b"not a picture", "corrupt_image"),
    "no bytes": (b"", "corrupt_image"),
    "cut": (dicom(RAMP)[:-100], "corrupt_image"),
    "frames": (dicom(RAMP, NumberOfFrames=15), "several_frames: the DICOM file has 15 frames"),
    "unknown colours": (dicom(np.zeros((8, 8, 3), np.uint8), "CMYK"), "corrupt_image"),
    "no pixels": (dicom(RAMP, PixelData=b""), "corrupt_image"),
    "no decoder": (dicom(RAMP, encoding=JPEGLosslessSV1), "no_decoder: install pylibjpeg"),
    "broken runs": (dicom(RAMP, encoding=RLELossless), "corrupt_image"),
    "window of no width": (dicom(RAMP, WindowCenter=5, WindowWidth=0), "corrupt_image"),
    "outside of its window": (dicom(RAMP, WindowCenter=-90, WindowWidth=5), "flat_image"),
    "below its window": (dicom(RAMP, WindowCenter=9e4, WindowWidth=5), "dark_image"),
    "huge": (dicom(RAMP, Rows=60_000, Columns=60_000), "oversized_image"),
    "16-bit palette of low values": (
        dicom(RAMP.astype(np.uint8), "PALETTE COLOR", **palette(np.full((256, 3), 200), 16)),
        "dark_image",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_shown_has_a_reason(case: str) -> None:
    data, message = BAD[case]
    with pytest.raises(BadImage, match=message):
        dicom_to_png(data)
