"""Image-caption pairs: what a source yields, what is good enough, and the Parquet store of them."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from structxlip.data.duplicates import HeldOut
from structxlip.data.images import BadImage, decode_rgb, encode_jpeg, thumbnail
from structxlip.data.text import BadCaption, clean_caption
from structxlip.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")
MIN_SIDE = 8  # pixels; nothing has a structure that is smaller
SHOWN = 12  # pictures of a reason that are kept to look at
ROW_GROUP_PAIRS = 64  # the unit of work of the later stages


@dataclass(frozen=True)
class Box:
    """An object of the image: ``x, y, w, h`` in pixels."""

    x: int
    y: int
    w: int
    h: int
    label: str


@dataclass(frozen=True)
class RawPair:
    """One image with its captions as a source found them, not yet looked at.

    ``read_image`` returns the encoded bytes and raises ``OSError`` when there are none to read.
    ``split`` is None where the source gives none; ``group`` is what must not straddle splits;
    ``read_edges`` reads an edge map that the source brings along.
    """

    id: str
    read_image: Callable[[], bytes]
    captions: Sequence[str]
    group: str
    source: str
    split: str | None = None
    boxes: Sequence[Box] = ()
    read_edges: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Rejected:
    """A pair or a caption that does not enter the store, and why; ``thumbnail`` is a small JPEG of
    the picture, where there is one to see and pages may show it."""

    id: str
    reason: str
    detail: str
    thumbnail: bytes | None = None


@dataclass
class IngestReport:
    """Counts of an ingestion; ``quarantine`` lists everything that was left out."""

    pairs_seen: int = 0
    captions_seen: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    captions: int = 0
    quarantine: list[Rejected] = field(default_factory=list)
    shown: Counter[str] = field(default_factory=Counter)
    bad_pairs: int = 0
    bad_captions: int = 0

    @property
    def bad_fraction(self) -> float:
        """The larger of the fractions of pairs and of captions that were left out, in [0, 1]."""
        return max(
            self.bad_pairs / max(self.pairs_seen, 1), self.bad_captions / max(self.captions_seen, 1)
        )

    def reject(
        self, identifier: str, reason: str, detail: str, rgb: NDArray[np.uint8] | None
    ) -> None:
        """List what is left out, with its picture for the first ``SHOWN`` of a reason."""
        seen = rgb is not None and self.shown[reason] < SHOWN
        self.shown[reason] += seen
        picture = encode_jpeg(thumbnail(rgb)) if rgb is not None and seen else None
        self.quarantine.append(Rejected(identifier, reason, detail, picture))

    def by_reason(self) -> dict[str, int]:
        return dict(sorted(Counter(rejected.reason for rejected in self.quarantine).items()))

    def as_dict(self) -> dict[str, Any]:
        return {
            "pairs": sum(self.splits.values()),
            "captions": self.captions,
            "splits": {split: self.splits[split] for split in SPLITS},
            "pairs_seen": self.pairs_seen,
            "captions_seen": self.captions_seen,
            "quarantined": self.by_reason(),
            "bad_fraction": round(self.bad_fraction, 6),
        }


def split_of(group: str, fractions: dict[str, float], *, seed: int) -> str:
    """The split of a group by a hash of its name: stable when other groups come or go.

    ``fractions`` maps splits to shares that sum to 1.
    """
    digest = hashlib.blake2b(f"{seed}:{group}".encode(), digest_size=8).digest()
    position, edge = int.from_bytes(digest, "big") / 2**64, 0.0
    for split, fraction in fractions.items():
        edge += fraction
        if position < edge:
            return split
    return split


def write_pairs(
    raw_pairs: Iterable[RawPair],
    directory: Path,
    *,
    shard_bytes: int,
    max_bad_fraction: float,
    split_for: Callable[[RawPair], str],
    held_out: HeldOut | None = None,
) -> IngestReport:
    """Validate pairs and write the good ones as Parquet shards, with ``report.json`` and
    ``quarantine.parquet``, into ``directory``, holding one row group in memory.

    What comes again in ``held_out`` is left out and listed, and does not count as bad.

    Raises ``UserError`` with the counts by reason when more than ``max_bad_fraction`` of the pairs
    or of the captions are bad, or when no pair is left for a split.
    """
    report = IngestReport()
    with _ShardWriter(directory, pair_schema(), shard_bytes) as writer:
        for row in _good_rows(raw_pairs, report, split_for, held_out or HeldOut()):
            writer.add(row)
    _refuse_bad(report, max_bad_fraction)
    (directory / "report.json").write_text(json.dumps(report.as_dict(), indent=2) + "\n")
    write_quarantine(report.quarantine, directory)
    return report


def write_quarantine(rejected: Sequence[Rejected], directory: Path) -> None:
    """List what was left out as ``quarantine.parquet`` in a folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("id", "reason", "detail")
    schema = pa.schema([*((name, pa.string()) for name in names), ("thumbnail", pa.binary())])
    table = pa.Table.from_pylist([vars(entry) for entry in rejected], schema=schema)
    pq.write_table(table, directory / "quarantine.parquet")


def _good_rows(
    raw_pairs: Iterable[RawPair],
    report: IngestReport,
    split_for: Callable[[RawPair], str],
    held_out: HeldOut,
) -> Iterator[dict[str, Any]]:
    seen: set[str] = set()
    for raw in raw_pairs:
        report.pairs_seen += 1
        report.captions_seen += len(raw.captions)
        rgb = None
        try:
            if raw.id in seen:
                raise BadImage("duplicate_id", f"again in {raw.source}")
            seen.add(raw.id)
            data = _read(raw.read_image)
            rgb = decode_rgb(data)
            height, width = rgb.shape[:2]
            captions = list(_good_captions(raw, report, rgb))
            if not captions:
                raise BadImage("no_caption", "the image has no caption that can be used")
            if min(height, width) < MIN_SIDE:
                raise BadImage("tiny_image", f"{width} x {height} pixels")
            edges = _read(raw.read_edges) if raw.read_edges else None
            if edges is not None:
                decode_rgb(edges)
        except BadImage as bad:
            report.bad_pairs += 1
            report.reject(raw.id, bad.reason, bad.detail, rgb)
            continue
        split = split_for(raw)
        if found := held_out.again(split, rgb):
            report.reject(raw.id, f"again_in_{found[0]}", f"nearly the picture of {found[1]}", rgb)
            continue
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


def _good_captions(raw: RawPair, report: IngestReport, rgb: NDArray[np.uint8]) -> Iterator[str]:
    for index, text in enumerate(raw.captions):
        try:
            yield clean_caption(text)
        except BadCaption as bad:
            report.bad_captions += 1
            detail = f"caption {index} of {len(raw.captions)} {bad.detail}"
            report.reject(raw.id, bad.reason, detail, rgb)


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except OSError as error:
        reason = "missing_image" if isinstance(error, FileNotFoundError) else "unreadable_image"
        raise BadImage(reason, error.strerror or str(error)) from None


def _refuse_bad(report: IngestReport, max_bad_fraction: float) -> None:
    counts = ", ".join(f"{reason} {n}" for reason, n in report.by_reason().items())
    if report.bad_fraction > max_bad_fraction:
        examples = ", ".join(f"{r.id} ({r.reason})" for r in report.quarantine[:3])
        raise UserError(
            f"{report.bad_pairs} of {report.pairs_seen} pairs and {report.bad_captions} of "
            f"{report.captions_seen} captions are bad ({counts}; first: {examples}), more than "
            f"ingest.max_bad_fraction {max_bad_fraction:g} allows; mend the data or raise it"
        )
    if empty := [split for split in SPLITS if not report.splits[split]]:
        raise UserError(
            f"no pair is left for {' and '.join(empty)} ({report.pairs_seen} pairs seen"
            f"{', ' + counts if counts else ''}); check the path and the split lists"
        )


class _ShardWriter:
    """Writes rows as Parquet shards of at most ``shard_bytes``, in row groups of a fixed size."""

    def __init__(self, directory: Path, schema: pa.Schema, shard_bytes: int) -> None:
        self.directory, self.schema, self.shard_bytes = directory, schema, shard_bytes
        self.rows: list[dict[str, Any]] = []
        self.writer: Any = None
        self.written_bytes = self.shards = 0

    def __enter__(self) -> _ShardWriter:
        return self

    def __exit__(self, error_type: type[BaseException] | None, *_: object) -> None:
        if error_type is None:
            self._flush()
        if self.writer is not None:
            self.writer.close()

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) == ROW_GROUP_PAIRS:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self.rows:
            return
        table = pa.Table.from_pylist(self.rows, schema=self.schema)
        self.rows = []
        if self.writer is not None and self.written_bytes + table.nbytes > self.shard_bytes:
            self.writer.close()
            self.writer = None
        if self.writer is None:
            path = self.directory / f"part-{self.shards:05d}.parquet"
            self.writer = pq.ParquetWriter(path, self.schema, compression="zstd")
            self.shards, self.written_bytes = self.shards + 1, 0
        self.writer.write_table(table)
        self.written_bytes += table.nbytes


def pair_schema() -> pa.Schema:
    """The columns of ``data/<dataset>/pairs``."""
    import pyarrow as pa

    box = pa.struct([*((side, pa.int32()) for side in "xywh"), ("label", pa.string())])
    return pa.schema(
        [
            ("id", pa.string()),
            ("split", pa.string()),
            ("group", pa.string()),
            ("image", pa.binary()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("captions", pa.list_(pa.string())),
            ("source", pa.string()),
            ("sha256", pa.string()),
            ("boxes", pa.list_(box)),
            ("edges", pa.binary()),  # that the source brings along, encoded
        ]
    )


def shards(directory: Path) -> list[Path]:
    """The Parquet shards of an artifact, in order; ``UserError`` when there is none."""
    paths = sorted(directory.glob("part-*.parquet"))
    if not paths:
        raise UserError(f"{directory} holds no shards; run the stage that makes them (`dvc repro`)")
    return paths


def remember_held_out(raw_pairs: Iterable[RawPair], split_for: Callable[[RawPair], str]) -> HeldOut:
    """The pictures of the validation and test splits; those that cannot be read are passed over,
    since ``write_pairs`` lists them."""
    held_out = HeldOut()
    for raw in raw_pairs:
        split = split_for(raw)
        if split == "train":
            continue
        try:
            rgb = decode_rgb(_read(raw.read_image))
        except BadImage:
            continue
        held_out.add(split, raw.id, rgb)
    return held_out
