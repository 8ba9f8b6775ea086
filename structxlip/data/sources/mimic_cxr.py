"""MIMIC-CXR: chest radiographs, with the findings and the impression of the radiology report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.dicom import dicom_to_png
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.base import Source, source_of
from structxlip.data.sources.files import existing, reader
from structxlip.data.sources.radiology import report_text
from structxlip.data.sources.text_tables import csv_rows
from structxlip.data.splits import SPLIT_NAMES

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
        description="The sections of a report that make its caption. A report without any has its "
        "last paragraph.",
    )


def open_mimic_cxr(dataset: MimicCxr) -> Source:
    """Read the images in the order of the split table. All images of a patient are in one split.

    Images of other views than ``dataset.views``, and of other splits, are left out and counted.
    """
    root = Path(dataset.path)
    split_table, view_table = existing(root, dataset.splits), existing(root, dataset.metadata)
    files, reports = existing(root, dataset.files), existing(root, dataset.reports)
    views = {
        row["dicom_id"]: row["ViewPosition"]
        for row in csv_rows(view_table, ("dicom_id", "ViewPosition"))
    }
    rows = list(csv_rows(split_table, ("dicom_id", "study_id", "subject_id", "split")))
    seen = [row for row in rows if not dataset.views or views.get(row["dicom_id"]) in dataset.views]
    pairs = [_pair(row, files, reports, dataset) for row in seen if row["split"] in SPLIT_NAMES]
    return source_of(pairs, len(rows) - len(pairs))


def _pair(row: Mapping[str, str], files: Path, reports: Path, dataset: MimicCxr) -> RawPair:
    study, patient = f"s{row['study_id']}", f"p{row['subject_id']}"
    folder, roots = Path(patient[:3]) / patient, dataset.link_roots
    report = _report(reader(reports, f"{folder}/{study}.txt", roots=roots))
    text = report_text(report, dataset.sections)
    return RawPair(
        id=row["dicom_id"],
        read_image=_image(files, f"{folder}/{study}/{row['dicom_id']}", dataset),
        captions=[text] if text else [],
        group=patient,
        source="mimic_cxr",
        split=SPLIT_NAMES[row["split"]],
    )


def _report(read: Callable[[], bytes]) -> str:
    """The report of a study; empty where it cannot be read, so that the image has no caption."""
    try:
        return read().decode("utf-8-sig", errors="surrogateescape")
    except (OSError, BadImage):
        return ""


def _image(files: Path, name: str, dataset: MimicCxr) -> Callable[[], bytes]:
    """A function that reads an image, DICOM where there is a DICOM file, else JPG."""
    dicom = reader(files, f"{name}.dcm", roots=dataset.link_roots)
    jpg = reader(files, f"{name}.jpg", roots=dataset.link_roots)

    def read() -> bytes:
        try:
            found = dicom()
        except FileNotFoundError:
            return jpg()
        return dicom_to_png(found)

    return read
