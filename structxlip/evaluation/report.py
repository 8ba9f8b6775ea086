"""The report of a dataset: one self-contained HTML page of tables, curves and pictures."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.config import Params
from structxlip.cues import decode_edges
from structxlip.data.feature_store import FeatureStore
from structxlip.data.images import decode_rgb
from structxlip.data.pairs import shards
from structxlip.evaluation.comparison import table
from structxlip.evaluation.protocol import Comparison, Embeddings

if TYPE_CHECKING:
    import pandas as pd

THUMBNAIL_PX = 150
EXAMPLES, QUERIES, ANSWERS = 6, 6, 5


def write_report(
    path: Path,
    *,
    dataset: str,
    params: Params,
    comparison: Comparison,
    histories: dict[str, pd.DataFrame],
    store: FeatureStore,
    data: Path,
) -> None:
    """Write ``path``, and its figures beside it as ``losses.svg`` and ``recall.svg``; ``data`` is
    the folder of the dataset's artifacts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    rows = store.rows("test")
    examples = rows[:: max(1, len(rows) // EXAMPLES)][:EXAMPLES]
    grids = _retrieval(comparison.test["structxlip"], rows)
    wanted = sorted({*examples.tolist(), *(row for grid in grids for row, _ in grid["answers"])})
    pictures = _Pictures(data, np.array(wanted))
    header, *body = table(comparison.metrics)
    template = Environment(
        loader=PackageLoader("structxlip.evaluation", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("report.html.j2")
    figures = {
        "losses": _figure(lambda axes: _draw_losses(axes, histories), 2),
        "recall": _figure(lambda axes: _draw_recall(axes, histories), 1),
    }
    page = template.render(
        dataset=dataset,
        params=params,
        metrics=comparison.metrics,
        header=header,
        rows=body,
        ingest=json.loads((data / "pairs" / "report.json").read_text()),
        **figures,
        examples=[pictures.example(row) for row in examples.tolist()],
        queries=[
            {
                "text": pictures.captions(grid["image"])[grid["caption"]],
                "rank": grid["rank"] + 1,
                "answers": [
                    {"image": pictures.thumbnail(row), "right": right}
                    for row, right in grid["answers"]
                ],
            }
            for grid in grids
        ],
    )
    path.write_text(page, encoding="utf-8")
    for name, svg in figures.items():
        path.with_name(f"{name}.svg").write_text(svg, encoding="utf-8")


def _retrieval(test: Embeddings, rows: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Some captions of the test split, evenly drawn, with the images that come first for them."""
    chosen = np.linspace(0, len(test.texts) - 1, QUERIES).astype(int)
    ranks = test.ranks().text_to_image
    first = np.searchsorted(test.owner, test.owner)
    grids = []
    for text in dict.fromkeys(chosen.tolist()):
        owner = test.owner[text]
        best = np.argsort(-(test.texts[text] @ test.images.T), kind="stable")[:ANSWERS]
        answers = [(int(rows[i]), bool(i == owner)) for i in best]
        if owner not in best:  # looked at too, for its captions
            answers.append((int(rows[owner]), True))
        grids.append(
            {
                "image": int(rows[owner]),
                "caption": int(text - first[text]),
                "rank": int(ranks[text]),
                "answers": answers,
            }
        )
    return grids


class _Pictures:
    """Thumbnails, overlays and captions of a few pairs, read from the artifacts."""

    def __init__(self, data: Path, rows: NDArray[np.int64]) -> None:
        self.pairs = _take(data / "pairs", rows, ["id", "image", "captions"])
        self.edges = _take(data / "edges", rows, ["edges", "density"])
        self.structure = _structures(data / "captions", {p["id"] for p in self.pairs.values()})

    def captions(self, row: int) -> list[str]:
        found: list[str] = self.pairs[row]["captions"]
        return found

    def thumbnail(self, row: int) -> str:
        return _data_url(_resized(decode_rgb(self.pairs[row]["image"])))

    def example(self, row: int) -> dict[str, Any]:
        image = _resized(decode_rgb(self.pairs[row]["image"]))
        edges = decode_edges(self.edges[row]["edges"]).astype(np.uint8)
        drawn = cv2.resize(edges, image.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
        overlay = image // 2 + 96
        overlay[drawn] = (200, 30, 30)
        identifier = self.pairs[row]["id"]
        return {
            "id": identifier,
            "image": _data_url(image),
            "overlay": _data_url(overlay),
            "density": self.edges[row]["density"],
            "caption": self.captions(row)[0],
            "structure": self.structure[identifier],
        }


def _take(
    directory: Path, rows: NDArray[np.int64], columns: list[str]
) -> dict[int, dict[str, Any]]:
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


def _resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    scale = THUMBNAIL_PX / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def _data_url(image: NDArray[np.uint8]) -> str:
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def _figure(draw: Any, panels: int) -> str:
    """An inline SVG of ``draw(axes)``."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same numbers make the same bytes.
    with rc_context({"svg.hashsalt": "structxlip", "font.size": 9, "axes.spines.top": False,
                     "axes.spines.right": False}):  # fmt: skip
        figure = Figure(figsize=(4.8 * panels, 2.8), layout="constrained")
        draw(figure.subplots(1, panels, squeeze=False)[0])
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()[out.getvalue().index("<svg") :]


def _draw_losses(axes: Any, histories: dict[str, pd.DataFrame]) -> None:
    for axis, (arm, history) in zip(axes, histories.items(), strict=True):
        for term in [column for column in history if column.endswith("_loss")]:
            axis.plot(history["epoch"], history[term], label=term.removesuffix("_loss"))
        axis.set(title=arm, xlabel="epoch", ylabel="loss", ylim=(0, None))
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def _draw_recall(axes: Any, histories: dict[str, pd.DataFrame]) -> None:
    for arm, history in histories.items():
        ways = [column for column in history if column.startswith("val/")]
        axes[0].plot(history["epoch"], history[ways].mean(axis=1), label=arm)
    axes[0].set(xlabel="epoch", ylabel="mean R@1 on validation, %\n(images alone)", ylim=(0, None))
    axes[0].legend(frameon=False)
