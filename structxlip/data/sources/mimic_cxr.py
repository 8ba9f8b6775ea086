"""MIMIC-CXR: chest radiographs with the findings and the impression of their study's report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from structxlip.config.datasets import MimicCxr
from structxlip.data.images import BadImage
from structxlip.data.pairs import RawPair
from structxlip.data.sources.base import SPLIT_NAMES, Source
from structxlip.data.sources.files import csv_rows, existing, need, read_text
from structxlip.errors import UserError

HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /()_-]{2,}):", re.MULTILINE)


def open_mimic_cxr(dataset: MimicCxr) -> Source:
    """Images in the order of the split table; all images of a patient are in one split.

    Views outside of ``views`` are left out and counted.
    """
    root = Path(dataset.path)
    listed, described = existing(root, dataset.splits), existing(root, dataset.metadata)
    files, reports = existing(root, dataset.files), existing(root, dataset.reports)
    views: dict[str, str] = {}
    for row in csv_rows(described):
        need(row, ("dicom_id", "ViewPosition"), described)
        views[row["dicom_id"]] = row["ViewPosition"]
    pairs = []
    unlisted = 0
    for row in csv_rows(listed):
        need(row, ("dicom_id", "study_id", "subject_id", "split"), listed)
        image, study, patient = row["dicom_id"], f"s{row['study_id']}", f"p{row['subject_id']}"
        if dataset.views and views.get(image) not in dataset.views:
            unlisted += 1
            continue
        folder = Path(patient[:3]) / patient
        pairs.append(
            RawPair(
                id=image,
                read_image=_image(files / folder / study / image),
                captions=list(_captions(reports / folder / f"{study}.txt", dataset.sections)),
                group=patient,
                source="mimic_cxr",
                split=SPLIT_NAMES.get(row["split"]),
            )
        )
    given = frozenset(pair.split for pair in pairs if pair.split)
    return Source(iter(pairs), len(pairs), given, unlisted)


def sections_of(report: str) -> dict[str, str]:
    """The sections of a radiology report by their headings in lower case, each as one line."""
    found = list(HEADING.finditer(report))
    ends = [*(heading.start() for heading in found), len(report)][1:]
    return {
        heading[1].strip().lower(): " ".join(report[heading.end() : end].split())
        for heading, end in zip(found, ends, strict=bool(found))
    }


def _captions(path: Path, wanted: Sequence[str]) -> Iterator[str]:
    """One caption of the wanted sections; none where there is no report or it has none of them."""
    if path.is_file():
        sections = sections_of(read_text(path))
        if text := " ".join(sections[name] for name in wanted if sections.get(name)):
            yield text


def _image(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        if (dicom := path.with_suffix(".dcm")).is_file():
            return _from_dicom(dicom)
        return path.with_suffix(".jpg").read_bytes()

    return read


def _from_dicom(path: Path) -> bytes:
    """The picture as a PNG of 8 bits, in the window that the file names."""
    try:
        import pydicom
        from pydicom.pixels.processing import apply_voi_lut
    except ImportError:
        raise UserError("DICOM files need pydicom; run `pip install 'structxlip[dicom]'`") from None
    import cv2
    import numpy as np

    try:
        record = pydicom.dcmread(path)
        pixels = apply_voi_lut(record.pixel_array, record).astype(np.float32)
    except (pydicom.errors.InvalidDicomError, AttributeError, ValueError, RuntimeError) as error:
        raise BadImage("corrupt_image", f"{path.name} is no DICOM image ({error})") from None
    low, high = float(pixels.min()), float(pixels.max())
    grey = (pixels - low) / max(high - low, 1e-6) * 255
    if record.get("PhotometricInterpretation") == "MONOCHROME1":
        grey = 255 - grey
    encoded: bytes = cv2.imencode(".png", grey.round().astype(np.uint8))[1].tobytes()
    return encoded
