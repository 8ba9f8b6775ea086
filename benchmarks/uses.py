"""Measure three uses of a trained model: finding altered copies, sketches, and relations.

    python benchmarks/uses.py --project . scenes

It reads the trained project: `models/D`, `indexes/D` and the test split of `data/D/pairs`, with
which all pictures are compared.

Copies: is a picture that was altered still found as the same? The threshold is the score that 1 %
of the test images reach for another test image, so that 1 % of pictures that are new are taken for
one that is there.

    changed      how the picture was altered
    structure    recall in percent by the edges, which the colours do not enter
    content      by the picture
    hash         by the difference hash that ingestion finds near-duplicates with

Sketches: does a drawing that was computed from a picture find that picture?

    sketch       a pencil drawing, or the outlines, bent by up to 2 % of the side
    R@1, R@10    in percent, by structure, by content, and by both fused

Relations (only `scenes`): of a picture, which caption scores higher: its own, or the same with one
relation turned around, such as left for right? Guessing gives 50 %.

    model        the arm, and what of the picture is compared
    captions     that state such a relation
    right        percent of them
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from script import new_parser, parse, print_header, print_row
from structxlip.cues import canny
from structxlip.data.duplicates import fingerprint
from structxlip.data.images import decode_rgb
from structxlip.data.shards import read_shards
from structxlip.evaluation.appearance import CHANGES, TITLES, Pixels, blurred, drawn
from structxlip.serving.embedder import Embedder
from structxlip.serving.image_index import ImageIndex
from structxlip.serving.scoring import Query, Scorer

ALTERED = ("hue", "grey", "posterised", "blurred", "jpeg", "cropped")
FALSE_MATCHES = 0.01
BEND = 0.02  # of the side
TURNED = {"to the left of": "to the right of", "on its left": "on its right", "above": "below",
          "higher than": "lower than"}  # fmt: skip
SMOKE_PX = 64


@dataclass(frozen=True)
class Gallery:
    """The test images that queries are compared with.

    Attributes:
        pixels: of each, RGB.
        captions: of each, the first one.
        scorer: with their embeddings.
        vanilla: the arm without edges.
        structxlip: the arm with edges.
    """

    pixels: list[Pixels]
    captions: list[str]
    scorer: Scorer
    vanilla: Embedder
    structxlip: Embedder


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("dataset", nargs="?", default="scenes")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--queries", type=int, default=100)
    arguments = parse(parser, smoke={"queries": 4})
    with tempfile.TemporaryDirectory() as folder:
        gallery = (
            drawings(Path(folder))
            if arguments.smoke
            else open_gallery(arguments.project, arguments.dataset)
        )
        chosen = np.linspace(0, len(gallery.pixels) - 1, arguments.queries).astype(int).tolist()
        copies(gallery, chosen)
        sketches(gallery, chosen)
        if arguments.dataset == "scenes":
            relations(gallery, arguments.queries)


def open_gallery(project: Path, dataset: str) -> Gallery:
    """The test split of a trained project."""
    os.chdir(project)
    index = ImageIndex(Path("indexes") / dataset)
    rows = index.splits == "test"
    pairs = read_shards(Path("data") / dataset / "pairs", ["image", "captions", "split"])
    test = pairs.filter(pairs["split"].to_numpy() == "test").to_pylist()
    arms = Path("models") / dataset
    return Gallery(
        [decode_rgb(pair["image"]) for pair in test],
        [pair["captions"][0] for pair in test],
        Scorer(*(index.arrays[by][rows].astype(np.float32) for by in ("content", "structure"))),
        Embedder(arms / "vanilla", 0.0),
        Embedder(arms / "structxlip", index.alpha or 0.5),
    )


def drawings(folder: Path) -> Gallery:
    """A few drawings, and models with random weights: shows that this script works."""
    import torch

    from structxlip.config import Edges
    from structxlip.data.scenes import draw_scene, load_vocabulary
    from structxlip.models.heads import HeadsConfig, HeadsOnTowers

    words = load_vocabulary(Path(__file__).parents[1] / "structxlip/data/scenes.yaml")
    drawn_scenes = [
        draw_scene(i, seed=0, image_px=160, captions_per_image=1, vocabulary=words)
        for i in range(8)
    ]
    torch.manual_seed(0)
    towers = ("packaged:efficientnet-lite0", "packaged:all-minilm-l6-v2", SMOKE_PX, None, 1280, 384)
    HeadsOnTowers(HeadsConfig(*towers, 16, 16, 0.0, False, "cnn")).save(folder)
    edges = {"edges": Edges(size_px=SMOKE_PX).model_dump(), "cues": ["canny"]}
    (folder / "preprocess.json").write_text(json.dumps(edges))
    model = Embedder(folder, 0.5)
    pixels = [np.asarray(scene.image, np.uint8) for scene in drawn_scenes]
    parts = [model.embed_parts(picture) for picture in pixels]
    scorer = Scorer(*(np.stack([np.asarray(part[side]) for part in parts]) for side in (0, 1)))
    captions = [scene.captions[0] for scene in drawn_scenes]
    return Gallery(pixels, captions, scorer, Embedder(folder, 0.0), model)


def copies(gallery: Gallery, chosen: Sequence[int]) -> None:
    bits = np.stack([fingerprint(picture).bits for picture in gallery.pixels])
    limits = [limit(partial(np.matmul, side), side) for side in stored(gallery)]
    hash_limit = limit(partial(alike, bits), bits)
    print_header("changed", "structure", "content", "hash")
    for name in ALTERED:
        rng, found = np.random.default_rng(0), np.zeros(3)
        for row in chosen:
            picture = CHANGES[name](gallery.pixels[row], rng)
            content, edges = gallery.structxlip.embed_parts(picture)
            images, maps = stored(gallery)
            found += (
                edges is not None and maps[row] @ edges >= limits[1],
                images[row] @ content >= limits[0],
                alike(bits[row : row + 1], fingerprint(picture).bits)[0] >= hash_limit,
            )
        print_row(TITLES[name], *(f"{share:.0f}" for share in 100 * found / len(chosen)))


def stored(gallery: Gallery) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """The embeddings of images and of edges."""
    assert gallery.scorer.edges is not None, "the index has no edges; set register.arm: structxlip"
    return gallery.scorer.images, gallery.scorer.edges


def alike(rows: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The bits of hashes ``[N, 32]`` that are those of one ``[32]``."""
    return np.asarray(8 * len(wanted) - np.bitwise_count(rows ^ wanted).sum(axis=1), np.int64)


def limit(score: Callable[..., NDArray], rows: NDArray) -> float:
    """The score that ``FALSE_MATCHES`` of the rows exceed for another row."""
    best = []
    for place, row in enumerate(rows):
        scores = score(row).astype(np.float64)
        scores[place] = -np.inf
        best.append(scores.max())
    return float(np.quantile(best, 1 - FALSE_MATCHES))


def sketches(gallery: Gallery, chosen: Sequence[int]) -> None:
    print()
    print_header("sketch", "structure R@1", "R@10", "content R@1", "R@10", "fused R@1", "R@10")
    for name, draw in {"pencil drawing": pencil, "bent outlines": bent_outlines}.items():
        rng, ranks = np.random.default_rng(0), []
        for row in chosen:
            sketch = draw(gallery.pixels[row], rng)
            content = gallery.structxlip.embed_images([sketch], alpha=0.0)[0]
            edges = gallery.structxlip.embed_edges([sketch])[0]
            ranks.append([place(gallery, Query(content, edges), by, row) for by in BYS])
        shares = [(np.array(ranks)[:, i] < k).mean() for i in range(len(BYS)) for k in (1, 10)]
        print_row(name, *(f"{100 * share:.0f}" for share in shares))


BYS = ("structure", "content", "fused")


def place(gallery: Gallery, query: Query, by: str, row: int) -> int:
    """How many images score higher than the right one."""
    (scores,) = gallery.scorer.scores([query], by, gallery.structxlip.alpha)  # type: ignore[arg-type]
    return int((scores > scores[row]).sum())


def pencil(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """A pencil drawing whose darkest line is black."""
    strokes = (255 - drawn(rgb, rng)).astype(np.float32)
    strokes -= strokes.min()
    return (255 - 255 * strokes / max(strokes.max(), 1)).astype(np.uint8)


def bent_outlines(rgb: Pixels, rng: np.random.Generator) -> Pixels:
    """The outlines of a picture as a hand might draw them: dark lines on white, bent smoothly."""
    side = 256
    lines = canny(blurred(rgb, rng, 1.0), size_px=side).astype(np.uint8) * 255
    lines = np.asarray(cv2.dilate(lines, np.ones((2, 2), np.uint8)), np.uint8)
    shifts = rng.uniform(-BEND * side, BEND * side, (2, 6, 6)).astype(np.float32)
    dx, dy = (cv2.resize(shift, (side, side), interpolation=cv2.INTER_CUBIC) for shift in shifts)
    x, y = np.meshgrid(np.arange(side, dtype=np.float32), np.arange(side, dtype=np.float32))
    bent = cv2.remap(lines, x + dx, y + dy, cv2.INTER_LINEAR)
    return np.repeat(255 - bent[..., None], 3, axis=2).astype(np.uint8)


def relations(gallery: Gallery, queries: int) -> None:
    both = TURNED | {other: one for one, other in TURNED.items()}
    cases = [
        (row, caption, caption.replace(words, turned, 1))
        for row, caption in enumerate(gallery.captions)
        for words, turned in both.items()
        if f" {words}" in caption
    ][: 4 * queries]
    rows = [row for row, _, _ in cases]
    own, wrong = [case[1] for case in cases], [case[2] for case in cases]
    print()
    print_header("model", "captions", "right")
    images, edges = (side[rows] for side in stored(gallery))
    pictures = [gallery.pixels[row] for row in rows]
    fused = images + gallery.structxlip.alpha * edges
    texts = [gallery.structxlip.embed_texts(side) for side in (own, wrong)]
    plain = [gallery.vanilla.embed_texts(side) for side in (own, wrong)]
    sides = {
        "vanilla": (gallery.vanilla.embed_images(pictures), plain),
        "structxlip, content": (images, texts),
        "structxlip, structure": (edges, texts),
        "structxlip, fused": (fused, texts),
    }
    for name, (found, (right, turned)) in sides.items():
        better = ((found * right).sum(axis=1) > (found * turned).sum(axis=1)).mean()
        print_row(name, len(cases), f"{100 * better:.0f}")


if __name__ == "__main__":
    main()
