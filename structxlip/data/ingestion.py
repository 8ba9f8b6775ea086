"""Ingestion: raw pairs are validated, and the good ones become the pair store."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.data.duplicates import HeldOutImages
from structxlip.data.images import decode_rgb, encode_jpeg, thumbnail
from structxlip.data.pairs import RawPair
from structxlip.data.quarantine import (
    BadCaption,
    BadImage,
    RefusedData,
    Rejected,
    write_quarantine,
)
from structxlip.data.repeats import Boilerplate
from structxlip.data.shards import ShardWriter, pair_schema
from structxlip.data.splits import SPLITS
from structxlip.data.text import clean_caption, has_markup

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MIN_SIDE_PX = 8  # a smaller image has no structure
THUMBNAILS_PER_REASON = 12
SAMPLE = 200  # pairs that are looked at before the others


@dataclass
class IngestReport:
    """Counts of an ingestion, and the list of everything that was left out."""

    pairs_seen: int = 0
    captions_seen: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    captions: int = 0
    quarantine: list[Rejected] = field(default_factory=list)
    thumbnails: Counter[str] = field(default_factory=Counter)
    bad_pairs: int = 0
    bad_captions: int = 0
    markup: int = 0  # captions with tags of HTML
    shortened: int = 0  # captions that lost boilerplate
    straddling: dict[str, set[str]] = field(default_factory=dict)  # groups in several splits

    @property
    def bad_fraction(self) -> float:
        """The larger of the shares of bad pairs and of bad captions, in [0, 1]."""
        return max(
            self.bad_pairs / max(self.pairs_seen, 1), self.bad_captions / max(self.captions_seen, 1)
        )

    def reject(
        self, identifier: str, reason: str, detail: str, rgb: NDArray[np.uint8] | None
    ) -> None:
        """List what is left out. The first ``THUMBNAILS_PER_REASON`` of a reason keep their
        picture."""
        shown = rgb is not None and self.thumbnails[reason] < THUMBNAILS_PER_REASON
        self.thumbnails[reason] += shown
        picture = encode_jpeg(thumbnail(rgb)) if rgb is not None and shown else None
        self.quarantine.append(Rejected(identifier, reason, detail, picture))

    def by_reason(self) -> dict[str, int]:
        """The number of rejected pairs and captions for each reason."""
        return dict(sorted(Counter(rejected.reason for rejected in self.quarantine).items()))

    def as_dict(self) -> dict[str, Any]:
        """The content of ``report.json``."""
        return {
            "pairs": sum(self.splits.values()),
            "captions": self.captions,
            "splits": {split: self.splits[split] for split in SPLITS},
            "pairs_seen": self.pairs_seen,
            "captions_seen": self.captions_seen,
            "quarantined": self.by_reason(),
            "bad_fraction": round(self.bad_fraction, 6),
            "straddling_groups": len(self.straddling),
            "captions_with_markup": self.markup,
            "captions_without_boilerplate": self.shortened,
        }


def write_pairs(
    raw_pairs: Iterable[RawPair],
    directory: Path,
    *,
    shard_bytes: int,
    max_bad_fraction: float,
    split_for: Callable[[RawPair], str],
    held_out: HeldOutImages | None = None,
    boilerplate: Boilerplate | None = None,
) -> IngestReport:
    """Validate pairs and write the good ones as a pair store; one row group is in memory.

    Sentences of ``boilerplate`` are left out of the captions.

    The folder gets Parquet shards, ``report.json`` and ``quarantine.parquet``. A training or
    validation image that nearly equals an image of ``held_out`` is left out and listed. It does not
    count as bad.

    Raises ``RefusedData`` with the counts by reason when more than ``max_bad_fraction`` of the
    pairs or of the captions are bad, or when a split gets no pair.
    """
    report = IngestReport()
    with ShardWriter(directory, pair_schema(), shard_bytes) as writer:
        for row in _valid_rows(raw_pairs, report, split_for, held_out or HeldOutImages()):
            if boilerplate:
                shorter = [boilerplate.drop(text) for text in row["captions"]]
                report.shortened += sum(map(str.__ne__, shorter, row["captions"]))
                row["captions"] = shorter
            writer.add(row)
    _refuse_bad(report, max_bad_fraction)
    (directory / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    write_quarantine(report.quarantine, directory)
    return report


def check_sample(raw_pairs: Iterable[RawPair], size: int, max_bad_fraction: float) -> None:
    """Look at ``SAMPLE`` pairs, evenly spread over a source of ``size`` pairs.

    Raises ``RefusedData`` when so many of them are bad that the whole will be refused: more than
    four standard deviations above what ``max_bad_fraction`` would give.
    """
    report, step = IngestReport(), max(size // SAMPLE, 1)
    for _ in _valid_rows(
        islice(raw_pairs, 0, None, step), report, lambda _: "train", HeldOutImages()
    ):
        pass
    deviation = math.sqrt(max_bad_fraction * (1 - max_bad_fraction) / max(report.pairs_seen, 1))
    if report.bad_fraction > max_bad_fraction + 4 * deviation:
        raise RefusedData(
            f"of a sample spread over the {size:,} pairs, {_too_many(report, max_bad_fraction)}",
            report.quarantine,
        )


def index_held_out(
    raw_pairs: Iterable[RawPair], split_for: Callable[[RawPair], str]
) -> HeldOutImages:
    """Index the images of the validation and test splits, to find near-duplicates of them.

    Images that cannot be read are passed over: ``write_pairs`` lists them.
    """
    held_out = HeldOutImages()
    for raw in raw_pairs:
        split = split_for(raw)
        if split == "train":
            continue
        try:
            rgb = decode_rgb(_read(raw.read_image, "image"))
        except BadImage:
            continue
        held_out.add(split, raw.id, rgb, raw.captions)
    return held_out


def clean_captions(raw_pairs: Iterable[RawPair]) -> Iterator[list[str]]:
    """The captions of each pair as they are stored, without those that are refused."""
    for raw in raw_pairs:
        texts = []
        for text in raw.captions:
            with suppress(BadCaption):
                texts += [clean_caption(text)] if isinstance(text, str) else []
        yield texts


def _valid_rows(
    raw_pairs: Iterable[RawPair],
    report: IngestReport,
    split_for: Callable[[RawPair], str],
    held_out: HeldOutImages,
) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    splits: dict[str, str] = {}  # of the groups
    for raw in raw_pairs:
        report.pairs_seen += 1
        report.captions_seen += len(raw.captions)
        rgb = None
        try:
            if raw.id in seen:
                raise BadImage("duplicate_id", f"again in {raw.source}")
            seen.add(raw.id)
            data = _read(raw.read_image, "image")
            rgb = decode_rgb(data)
            height, width = rgb.shape[:2]
            captions = list(_valid_captions(raw, report, rgb))
            if not captions:
                raise BadImage("no_caption", "the image has no caption that can be used")
            if min(height, width) < MIN_SIDE_PX:
                raise BadImage("tiny_image", f"{width} x {height} pixels")
            edges = _read(raw.read_edges, "edges") if raw.read_edges else None
            if edges is not None:
                decode_rgb(edges)
        except BadImage as bad:
            report.bad_pairs += 1
            report.reject(raw.id, bad.reason, bad.detail, rgb)
            continue
        split = split_for(raw)
        if found := held_out.near_duplicate(split, rgb, raw.captions):
            report.reject(raw.id, f"again_in_{found[0]}", f"nearly the picture of {found[1]}", rgb)
            continue
        first = splits.setdefault(raw.group, split) if raw.group else split
        if first != split:
            report.straddling.setdefault(raw.group, {first}).add(split)
        report.splits[split] += 1
        report.captions += len(captions)
        yield {
            "id": raw.id,
            "split": split,
            "group": raw.group,
            "image": data,
            "width": width,
            "height": height,
            "captions": captions,
            "source": raw.source,
            "sha256": hashlib.sha256(data).hexdigest(),
            "boxes": [vars(box) for box in raw.boxes],
            "edges": edges,
        }


def _valid_captions(raw: RawPair, report: IngestReport, rgb: NDArray[np.uint8]) -> Iterator[str]:
    for index, text in enumerate(raw.captions):
        try:
            if isinstance(text, BadCaption):
                raise text
            clean = clean_caption(text)
            report.markup += has_markup(clean)
            yield clean
        except BadCaption as bad:
            report.bad_captions += 1
            detail = f"caption {index} of {len(raw.captions)} {bad.detail}"
            report.reject(raw.id, bad.reason, detail, rgb)


def _read(read: Callable[[], bytes], what: str) -> bytes:
    try:
        return read()
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        reason = f"missing_{what}" if missing else f"unreadable_{what}"
        raise BadImage(reason, error.strerror or str(error)) from None


def _refuse_bad(report: IngestReport, max_bad_fraction: float) -> None:
    counts = _reasons(report)
    if report.bad_fraction > max_bad_fraction:
        raise RefusedData(_too_many(report, max_bad_fraction), report.quarantine)
    if empty := [split for split in SPLITS if not report.splits[split]]:
        raise RefusedData(
            f"no pair is left for {' and '.join(empty)} ({report.pairs_seen} pairs seen"
            f"{', ' + counts if counts else ''}); check the path and the split lists",
            report.quarantine,
        )


def _too_many(report: IngestReport, max_bad_fraction: float) -> str:
    examples = ", ".join(f"{r.id} ({r.reason})" for r in report.quarantine[:3])
    return (
        f"{report.bad_pairs} of {report.pairs_seen} pairs and {report.bad_captions} of "
        f"{report.captions_seen} captions are bad ({_reasons(report)}; first: {examples}), more "
        f"than ingest.max_bad_fraction {max_bad_fraction:g} allows; mend the data or raise it"
    )


def _reasons(report: IngestReport) -> str:
    return ", ".join(f"{reason} {n}" for reason, n in report.by_reason().items())
