"""MIMIC-CXR: chest radiographs, with the findings and the impression of the radiology report."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.base import Source
from structxlip.data.sources.files import csv_rows, existing, need, read_text
from structxlip.data.splits import SPLIT_NAMES
from structxlip.errors import UserError

HEADING = re.compile(r"^[ \t]*([A-Z][A-Z /()_-]{2,}):", re.MULTILINE)

ReportSection = Literal["findings", "impression"]
SECTIONS: tuple[ReportSection, ...] = get_args(ReportSection)


class MimicCxr(DatasetEntry):
    """MIMIC-CXR: tables of the splits and views, and one report for each study.

    Images are JPG, or DICOM with the extra `dicom`.
    """

    kind: Literal["mimic_cxr"]
    splits: str = Field("mimic-cxr-2.0.0-split.csv", description="The table of the splits.")
    metadata: str = Field("mimic-cxr-2.0.0-metadata.csv", description="The table of the views.")
    files: str = Field("files", description="The folder of the images.")
    reports: str = Field("files", description="The folder of the reports.")
    views: list[str] = Field(
        default_factory=lambda: ["PA", "AP"],
        description="The views that are kept. Empty: all of them.",
    )
    sections: list[ReportSection] = Field(
        default_factory=lambda: list(SECTIONS),
        min_length=1,
        description="The sections of a report that make its caption.",
    )


def open_mimic_cxr(dataset: MimicCxr) -> Source:
    """Read the images in the order of the split table. All images of a patient are in one split.

    Images of other views than ``dataset.views`` are left out and counted.
    """
    root = Path(dataset.path)
    split_table, view_table = existing(root, dataset.splits), existing(root, dataset.metadata)
    files, reports = existing(root, dataset.files), existing(root, dataset.reports)
    views: dict[str, str] = {}
    for row in csv_rows(view_table):
        need(row, ("dicom_id", "ViewPosition"), view_table)
        views[row["dicom_id"]] = row["ViewPosition"]
    pairs = []
    unlisted = 0
    for row in csv_rows(split_table):
        need(row, ("dicom_id", "study_id", "subject_id", "split"), split_table)
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
    """The sections of a radiology report, each as one line, by their headings in lower case."""
    headings = list(HEADING.finditer(report))
    ends = [*(heading.start() for heading in headings), len(report)][1:]
    return {
        heading[1].strip().lower(): " ".join(report[heading.end() : end].split())
        for heading, end in zip(headings, ends, strict=bool(headings))
    }


def _captions(path: Path, names: Sequence[str]) -> Iterator[str]:
    """The named sections of a report as one caption; no caption where all of them are missing."""
    if path.is_file():
        sections = sections_of(read_text(path))
        if text := " ".join(sections[name] for name in names if sections.get(name)):
            yield text


def _image(path: Path) -> Callable[[], bytes]:
    """A function that reads an image, DICOM where there is a DICOM file, else JPG."""

    def read() -> bytes:
        if (dicom := path.with_suffix(".dcm")).is_file():
            return _from_dicom(dicom)
        return path.with_suffix(".jpg").read_bytes()

    return read


def _from_dicom(path: Path) -> bytes:
    """A DICOM image as a PNG of 8 bits, with the window (VOI LUT) that the file gives."""
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
