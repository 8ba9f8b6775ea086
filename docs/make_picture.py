"""Draw the picture of the README: one query, and what each model finds for it.

    python docs/make_picture.py . --dataset scenes --query 2

The first argument is a project folder in which the pipeline has run (`make demo`). The picture goes
to ``docs/assets/search.png``. Of the test captions for which StructXLIP finds the image first and
vanilla does not show it at all, ``--query`` takes the one with this number. The last line of the
picture says how often each model wins.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from structxlip.config import load_params
from structxlip.cues import decode_edges, drawing
from structxlip.data.images import decode_rgb
from structxlip.evaluation.embedding import Embeddings, Scorer
from structxlip.evaluation.protocol import Scorers
from structxlip.features.store import FeatureStore
from structxlip.features.views import open_view
from structxlip.models.build import load_model
from structxlip.reports.pictures import take

OUTPUT = Path(__file__).parent / "assets" / "search.png"
SHOWN = 5  # answers of each model
# Everything is drawn at twice the size at which the README shows it.
WIDTH_PX, MARGIN_PX, GAP_PX, IMAGE_PX, FRAME_PX = 1660, 40, 20, 226, 10
WHITE, INK, GREY, GREEN, LINE = "#ffffff", "#1f2328", "#59636e", "#1a7f37", "#d1d9e0"


@dataclass(frozen=True)
class Search:
    """One caption, and what each model finds for it.

    Attributes:
        caption: the query.
        right: the row of its image in the pair store.
        answers: the rows of the first images, for each model.
        wins: how many queries each model answers first and the other one does not.
        queries: how many queries there are.
    """

    caption: str
    right: int
    answers: dict[str, list[int]]
    wins: dict[str, int]
    queries: int


def search(store: FeatureStore, test: dict[str, Embeddings], data: Path, number: int) -> Search:
    """The search for the query with a number among those that only StructXLIP answers."""
    rows, owners = store.rows("test"), test["vanilla"].text_to_image
    ranks = {name: embeddings.ranks().text_to_image for name, embeddings in test.items()}
    first = {name: found == 0 for name, found in ranks.items()}
    candidates = np.flatnonzero(first["structxlip"] & (ranks["vanilla"] >= SHOWN))
    if number >= len(candidates):
        raise SystemExit(f"there are {len(candidates)} such queries; give a smaller --query")
    query = int(candidates[number])
    right = int(rows[owners[query]])
    own = int(query - np.searchsorted(owners, owners[query]))
    captions = take(data / "pairs", np.array([right]), ["captions"])[right]["captions"]
    return Search(
        caption=captions[own],
        right=right,
        answers={name: best_rows(found, query, rows) for name, found in test.items()},
        wins={
            "vanilla": int((first["vanilla"] & ~first["structxlip"]).sum()),
            "structxlip": int((first["structxlip"] & ~first["vanilla"]).sum()),
        },
        queries=len(owners),
    )


def best_rows(test: Embeddings, query: int, rows: NDArray[np.int64]) -> list[int]:
    """The rows of the images that are nearest to a query, the nearest first."""
    order = np.argsort(-test.scores(query), kind="stable")
    return [int(rows[i]) for i in order[:SHOWN]]


def draw(found: Search, images: dict[int, Image.Image], edge_map: Image.Image) -> Image.Image:
    """The whole picture: the query, two rows of answers, and the edge map."""
    text, bold, small = font(32), font(32, bold=True), font(26)
    lines = wrapped(f"“{found.caption}”", text, WIDTH_PX - 2 * MARGIN_PX - 150)
    top = MARGIN_PX + 46 * len(lines) + 30
    row_px = IMAGE_PX + 2 * FRAME_PX + 70
    picture = Image.new("RGB", (WIDTH_PX, top + 2 * row_px + 62), WHITE)
    pen = ImageDraw.Draw(picture)
    pen.text((MARGIN_PX, MARGIN_PX), "Query", GREY, bold)
    for i, line in enumerate(lines):
        pen.text((MARGIN_PX + 150, MARGIN_PX + 46 * i), line, INK, text)
    titles = {"vanilla": "Plain fine-tuning (vanilla) finds", "structxlip": "StructXLIP finds"}
    for i, (name, title) in enumerate(titles.items()):
        y = top + i * row_px
        pen.text((MARGIN_PX, y), title, INK, bold)
        for k, row in enumerate(found.answers[name]):
            x = MARGIN_PX + k * (IMAGE_PX + GAP_PX)
            paste(picture, images[row], x, y + 50, GREEN if row == found.right else LINE)
    x = MARGIN_PX + SHOWN * (IMAGE_PX + GAP_PX) + 60
    pen.line((x - 40, top, x - 40, top + 2 * row_px - 30), LINE, 3)
    pen.text((x, top), "The right image", INK, bold)
    paste(picture, images[found.right], x, top + 50, GREEN)
    pen.text((x, top + row_px), "Its edge map", INK, bold)
    paste(picture, edge_map, x, top + row_px + 50, GREEN)
    wins, queries = found.wins, found.queries
    note = (
        f"A chosen query. Of {queries} queries, StructXLIP alone is right at the first place for "
        f"{wins['structxlip']}, vanilla alone for {wins['vanilla']}."
    )
    pen.text((MARGIN_PX, top + 2 * row_px), note, GREY, small)
    return picture


def paste(picture: Image.Image, image: Image.Image, x: int, y: int, colour: str) -> None:
    """An image with a frame around it."""
    width = FRAME_PX if colour == GREEN else 3
    box = (x, y, x + IMAGE_PX - 1, y + IMAGE_PX - 1)
    grown = (box[0] - width, box[1] - width, box[2] + width, box[3] + width)
    ImageDraw.Draw(picture).rectangle(grown, fill=colour)
    picture.paste(image.resize((IMAGE_PX, IMAGE_PX), Image.Resampling.LANCZOS), (x, y))


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def wrapped(text: str, face: ImageFont.FreeTypeFont, width_px: int) -> list[str]:
    """A text in lines of at most ``width_px`` pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width_px:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path, help="a folder in which the pipeline has run")
    parser.add_argument("--dataset", default="scenes")
    parser.add_argument("--query", type=int, default=2)
    options = parser.parse_args()
    data, models = (options.project / name / options.dataset for name in ("data", "models"))
    reports = options.project / "reports" / options.dataset
    metrics: dict[str, Any] = json.loads((reports / "comparison.json").read_text())
    store = FeatureStore(data / "features")
    recipe = load_params(options.project / "params.yaml").recipe_settings
    by_tower = data / "edge_features" if recipe.reads_with_tower else None
    edges = open_view("edges", store, edges=data / "edges", edge_features=by_tower)
    scorers = Scorers.of(recipe)
    chosen = {"vanilla": Scorer(), "structxlip": Scorer(metrics["alpha"], metrics["beta"])}
    test = {
        name: scorers.embed(load_model(models / name), store, edges, "test").scored(scorer)
        for name, scorer in chosen.items()
    }
    found = search(store, test, data, options.query)
    shown = {found.right}.union(*found.answers.values())
    rows = np.array(sorted(shown))
    pairs = take(data / "pairs", rows, ["image"])
    images = {row: Image.fromarray(decode_rgb(pair["image"])) for row, pair in pairs.items()}
    of_right = take(data / "edges", np.array([found.right]), ["edges"])[found.right]
    edge_map = Image.fromarray(drawing(decode_edges(of_right["edges"])))
    OUTPUT.parent.mkdir(exist_ok=True)
    picture = draw(found, images, edge_map).quantize(255, dither=Image.Dither.NONE)
    picture.save(OUTPUT, optimize=True)


if __name__ == "__main__":
    main()
