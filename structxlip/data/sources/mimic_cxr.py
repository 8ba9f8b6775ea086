"""MIMIC-CXR: chest radiographs, with the findings and the impression of the radiology report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.data.dicom import dicom_to_png
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import BadImage
from structxlip.data.readers.files import existing, reader
from structxlip.data.readers.radiology import report_text
from structxlip.data.readers.records import Record, pair_of
from structxlip.data.readers.text_tables import csv_records
from structxlip.data.sources.base import Source
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
        record.get("dicom_id"): record.get("ViewPosition")
        for record in csv_records(view_table, ("dicom_id", "ViewPosition"))
    }
    records, given, unlisted = [], set(), 0
    for record in csv_records(split_table, ("dicom_id", "study_id", "subject_id", "split")):
        try:
            split = _split(record, views, dataset)
        except BadImage:
            split = ""  # a pair for the quarantine
        if split is None:
            unlisted += 1
        else:
            records.append(record)
            given.add(split)
    make = partial(_pair, files=files, reports=reports, dataset=dataset)
    pairs = (pair_of(record, "mimic_cxr", make) for record in records)
    return Source(pairs, len(records), frozenset(filter(None, given)), unlisted)


def _split(record: Record, views: Mapping[str, str], dataset: MimicCxr) -> str | None:
    """The split of an image; None where it has another view than those wanted, or no known split.

    Raises ``BadImage`` for a record without a name or a split.
    """
    image, split = record.name("dicom_id"), SPLIT_NAMES.get(record.name("split").lower())
    return split if not dataset.views or views.get(image) in dataset.views else None


def _pair(record: Record, files: Path, reports: Path, dataset: MimicCxr) -> RawPair:
    image, patient = record.name("dicom_id"), f"p{record.name('subject_id')}"
    study = f"{patient[:3]}/{patient}/s{record.name('study_id')}"
    read = partial(reader, roots=dataset.link_roots)
    text = report_text(_report(read(reports, f"{study}.txt")), dataset.sections)
    return RawPair(
        id=image,
        read_image=partial(
            _image, read(files, f"{study}/{image}.dcm"), read(files, f"{study}/{image}.jpg")
        ),
        captions=[text] if text else [],
        group=patient,
        source="mimic_cxr",
        split=SPLIT_NAMES.get(record.name("split").lower()),
    )


def _report(read: Callable[[], bytes]) -> str:
    """The report of a study; empty where it cannot be read, so that the image has no caption."""
    try:
        return read().decode("utf-8-sig", errors="surrogateescape")
    except (OSError, BadImage):
        return ""


def _image(read_dicom: Callable[[], bytes], read_jpg: Callable[[], bytes]) -> bytes:
    """The bytes of an image, DICOM where there is a DICOM file, else JPG."""
    try:
        return dicom_to_png(read_dicom())
    except FileNotFoundError:
        return read_jpg()
