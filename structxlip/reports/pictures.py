"""The parts of pages: templates, thumbnails, edge overlays, and figures as SVG."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.cues import EdgeMap, branch_input, decode_edges
from structxlip.data.images import decode_rgb, encode_jpeg, thumbnail
from structxlip.data.shards import shards

RED = (200, 30, 30)
WIDE = 8.0  # inches of a picture of gains, whose rows have long names
SHOWN = 6  # samples for each reason in the quarantine


class Pictures:
    """Thumbnails, overlays and captions of a few pairs, read from the artifacts."""

    def __init__(self, data: Path, rows: NDArray[np.int64]) -> None:
        self.pairs = take(data / "pairs", rows, ["id", "image", "captions"])
        self.edges = take(data / "edges", rows, ["edges", "density"])
        self.structure = _structures(data / "captions", {p["id"] for p in self.pairs.values()})

    def captions(self, row: int) -> list[str]:
        """The captions of a pair."""
        found: list[str] = self.pairs[row]["captions"]
        return found

    def small(self, row: int) -> NDArray[np.uint8]:
        """The thumbnail of a pair, ``uint8 [height, width, 3]``."""
        return thumbnail(decode_rgb(self.pairs[row]["image"]))

    def thumbnail(self, row: int) -> str:
        """The thumbnail of a pair as a ``data:`` URL."""
        return data_url(self.small(row))

    def example(self, row: int) -> dict[str, Any]:
        """A pair with its edges drawn over the image, for a template."""
        image = self.small(row)
        overlay = draw_edges(image, decode_edges(self.edges[row]["edges"]))
        identifier = self.pairs[row]["id"]
        return {
            "id": identifier,
            "image": data_url(image),
            "overlay": data_url(overlay),
            "density": self.edges[row]["density"],
            "caption": self.captions(row)[0],
            "structure": self.structure[identifier],
        }


def draw_edges(image: NDArray[np.uint8], edges: EdgeMap) -> NDArray[np.uint8]:
    """An image, ``uint8 [height, width, 3]``, paler and with its edge map in red.

    A cell has a line along the outline in it, as strong as its strongest orientation.
    """
    height, width = image.shape[:2]
    levels = branch_input(edges)
    if len(levels) > 1:
        levels = _strokes(levels, (width, height))
    strength = cv2.resize(levels[0], (width, height), interpolation=cv2.INTER_NEAREST)[..., None]
    pale = image // 2 + 96
    return np.asarray(pale + strength * (np.array(RED) - pale), np.uint8)


def _strokes(cells: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Cells ``[bins, S, S]`` as a picture ``[1, height, width]`` of ``size``, a line in each."""
    drawn = np.zeros(size[::-1], np.float32)
    side = np.array(size) / cells.shape[-1]
    for y, x in np.ndindex(*cells.shape[1:]):
        strongest = int(cells[:, y, x].argmax())
        # The gradient runs across the outline.
        angle = strongest * np.pi / len(cells) + np.pi / 2
        middle = (np.array((x, y)) + 0.5) * side
        half = 0.5 * side * (np.cos(angle), np.sin(angle))
        first, last = (np.rint(middle + way * half).astype(int).tolist() for way in (-1, 1))
        cv2.line(drawn, first, last, float(cells[strongest, y, x]))
    return drawn[None]


def take(directory: Path, rows: NDArray[np.int64], columns: list[str]) -> dict[int, dict[str, Any]]:
    """Read columns of some rows of an artifact, by row number; only their row groups are read."""
    import pyarrow.parquet as pq

    found: dict[int, dict[str, Any]] = {}
    start = 0
    for path in shards(directory):
        with pq.ParquetFile(path) as file:
            for index in range(file.num_row_groups):
                stop = start + file.metadata.row_group(index).num_rows
                inside = rows[(rows >= start) & (rows < stop)]
                if len(inside):
                    group = file.read_row_group(index, columns=columns)
                    taken = group.take((inside - start).tolist()).to_pylist()
                    found |= dict(zip(inside.tolist(), taken, strict=True))
                start = stop
    return found


def _structures(directory: Path, ids: set[str]) -> dict[str, str]:
    import pyarrow.dataset as ds

    wanted = (ds.field("id").isin(sorted(ids))) & (ds.field("caption_index") == 0)
    read = ds.dataset(shards(directory)).to_table(["id", "structure"], filter=wanted)
    return dict(zip(read["id"].to_pylist(), read["structure"].to_pylist(), strict=True))


@dataclass(frozen=True)
class Quarantine:
    """The samples that the stages left out: counts by reason, and some to look at."""

    counts: dict[str, int]
    shown: list[dict[str, str | None]]


def read_quarantine(data: Path) -> Quarantine:
    """The quarantines of a dataset's artifacts, with up to ``SHOWN`` samples for each reason."""
    import pyarrow.parquet as pq

    rows = [
        row | {"stage": stage}
        for stage in ("pairs", "edges", "captions")
        for row in pq.read_table(data / stage / "quarantine.parquet").to_pylist()
    ]
    counts = dict(sorted(Counter(row["reason"] for row in rows).items()))
    shown = [
        row
        for reason in counts
        for row in islice((row for row in rows if row["reason"] == reason), SHOWN)
    ]
    kept = _images(data / "pairs", {row["id"] for row in shown if row["stage"] != "pairs"})
    for row in shown:
        jpeg = row["thumbnail"]
        if row["stage"] != "pairs":
            jpeg = encode_jpeg(thumbnail(kept[row["id"]]))
        row["image"] = jpeg_url(jpeg) if jpeg else None
    return Quarantine(counts, shown)


def _images(pairs: Path, ids: set[str]) -> dict[str, NDArray[np.uint8]]:
    """The images of pairs that are in the store but that a later stage could not use."""
    import pyarrow.dataset as ds

    if not ids:
        return {}
    every = ds.dataset(shards(pairs)).to_table(["id"])["id"].to_pylist()
    rows = np.array([row for row, name in enumerate(every) if name in ids])
    found = take(pairs, rows, ["id", "image"]).values()
    return {row["id"]: decode_rgb(row["image"]) for row in found}


def data_url(image: NDArray[np.uint8]) -> str:
    """An image as a ``data:`` URL for an ``img`` element."""
    return jpeg_url(encode_jpeg(image))


def jpeg_url(jpeg: bytes) -> str:
    """A JPEG as a ``data:`` URL for an ``img`` element."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def figure(draw: Any, panels: int, panel_width: float = 4.8) -> str:
    """An inline SVG of ``draw(axes)``, with so many panels of a width in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same numbers give the same bytes.
    with rc_context({"svg.hashsalt": "structxlip", "font.size": 9, "axes.spines.top": False,
                     "axes.spines.right": False}):  # fmt: skip
        figure = Figure(figsize=(panel_width * panels, 2.8), layout="constrained")
        draw(figure.subplots(1, panels, squeeze=False)[0])
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def draw_gains(axis: Any, gains: Mapping[str, Mapping[str, float]], label: str) -> None:
    """Draw gains with their intervals, one below the other, and the line of no gain."""
    names = list(gains)
    means = [gains[name]["mean"] for name in names]
    sides = [
        [gains[name]["mean"] - gains[name]["low"] for name in names],
        [gains[name]["high"] - gains[name]["mean"] for name in names],
    ]
    axis.errorbar(means, range(len(names)), xerr=sides, fmt="o", capsize=3, color="#00796b")
    axis.axvline(0, color="#888", linewidth=1)
    axis.set(yticks=range(len(names)), yticklabels=names, xlabel=label)
    axis.invert_yaxis()


def render(template: str, **values: Any) -> str:
    """A page by its template in ``templates/``; a missing value is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("structxlip.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
