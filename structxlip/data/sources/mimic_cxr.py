"""MIMIC-CXR: chest radiographs, with the findings and the impression of the radiology report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.dicom import dicom_to_png
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.sources.base import Source
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

    Images of other views than ``dataset.views`` are left out and counted.
    """
    root = Path(dataset.path)
    split_table, view_table = existing(root, dataset.splits), existing(root, dataset.metadata)
    files, reports = existing(root, dataset.files), existing(root, dataset.reports)
    views = {
        row["dicom_id"]: row["ViewPosition"]
        for row in csv_rows(view_table, ("dicom_id", "ViewPosition"))
    }
    rows = list(csv_rows(split_table, ("dicom_id", "study_id", "subject_id", "split")))
    kept = [row for row in rows if not dataset.views or views.get(row["dicom_id"]) in dataset.views]
    pairs = (_pair(row, files, reports, dataset.sections) for row in kept)
    splits = {SPLIT_NAMES.get(row["split"]) for row in kept}
    given = frozenset(split for split in splits if split)
    return Source(pairs, len(kept), given, len(rows) - len(kept))


def _pair(
    row: Mapping[str, str], files: Path, reports: Path, sections: Sequence[ReportSection]
) -> RawPair:
    study, patient = f"s{row['study_id']}", f"p{row['subject_id']}"
    folder = Path(patient[:3]) / patient
    text = report_text(_report(reader(reports, f"{folder}/{study}.txt")), sections)
    return RawPair(
        id=row["dicom_id"],
        read_image=_image(files / folder / study / row["dicom_id"]),
        captions=[text] if text else [],
        group=patient,
        source="mimic_cxr",
        split=SPLIT_NAMES.get(row["split"]),
    )


def _report(read: Callable[[], bytes]) -> str:
    """The report of a study; empty where it cannot be read, so that the image has no caption."""
    try:
        return read().decode("utf-8-sig", errors="surrogateescape")
    except (OSError, BadImage):
        return ""


def _image(path: Path) -> Callable[[], bytes]:
    """A function that reads an image, DICOM where there is a DICOM file, else JPG."""

    def read() -> bytes:
        if (dicom := path.with_suffix(".dcm")).is_file():
            return dicom_to_png(dicom.read_bytes())
        return path.with_suffix(".jpg").read_bytes()

    return read
