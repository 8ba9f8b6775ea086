"""Near-duplicates with known answers: what is left out of training, and what stays.

    python benchmarks/duplicates.py
    python benchmarks/duplicates.py --images FOLDER    # photographs of products on white instead

Held-out pictures are drawn scenes, or photographs. Training gets copies of each, which should be
left out, and other pictures, which should stay: the same one as bright as before in other hues,
with a caption that names other colours, and its mirror image. Copies keep their caption.

Columns:
    picture            of the training split
    right              what should happen: left out, or stays
    left out, %        by hash, brightness and colour, as the stage `ingest` does it
    by brightness, %   without a look at the captions and colours
    colour, median     difference of the colours to the held-out picture, in CIE L*a*b*
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from random_data import ROOT
from script import new_parser, parse, print_header, print_row
from structxlip.data.duplicates import HeldOutImages, colour_difference, fingerprint
from structxlip.data.images import decode_rgb
from structxlip.data.scenes import draw_scene, load_vocabulary

Image = NDArray[np.uint8]
IMAGE_PX = 160
WHITE = 95  # brightness of a ground, in CIE L*a*b*
SMOKE = {"pictures": 6}


class Held(NamedTuple):
    """A held-out picture, its caption, and a caption that names other colours."""

    rgb: Image
    caption: str
    other_caption: str


def scenes(count: int) -> Iterator[Held]:
    """Drawn scenes."""
    vocabulary = load_vocabulary(ROOT / "structxlip/data/scenes.yaml")
    names = list(vocabulary.colours)
    next_name = dict(zip(names, names[1:] + names[:1], strict=True))
    for index in range(count):
        scene = draw_scene(
            index, seed=0, image_px=IMAGE_PX, captions_per_image=1, vocabulary=vocabulary
        )
        (text,) = scene.captions
        yield Held(scene.image, text, re.sub(r"\w+", lambda w: next_name.get(w[0], w[0]), text))


def photographs(folder: Path, count: int) -> Iterator[Held]:
    """Photographs of a folder."""
    for path in sorted(folder.glob("*.jpg"))[:count]:
        yield Held(decode_rgb(path.read_bytes()), "A red product", "A green product")


def in_another_hue(rgb: Image) -> Image:
    """An image as bright as before, in which all but white has turned its hue by 120 degrees."""
    lab = np.asarray(cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2LAB))
    hue = np.arctan2(lab[..., 2], lab[..., 1]) + 2 * np.pi / 3
    chroma = np.where(lab[..., 0] > WHITE, 0, np.maximum(np.hypot(lab[..., 1], lab[..., 2]), 30))
    turned = np.dstack([lab[..., 0], chroma * np.cos(hue), chroma * np.sin(hue)])
    back = np.asarray(cv2.cvtColor(turned.astype(np.float32), cv2.COLOR_LAB2RGB))
    return np.rint(np.clip(back, 0, 1) * 255).astype(np.uint8)


def packed(quality: int) -> Callable[[Image], Image]:
    """A function that packs an image as a JPEG of a quality, and unpacks it."""

    def again(rgb: Image) -> Image:
        jpeg = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return decode_rgb(jpeg.tobytes())

    return again


def cropped(share: float) -> Callable[[Image], Image]:
    """A function that cuts a share of the width and height off, half of it at each side."""

    def cut(rgb: Image) -> Image:
        y, x = (round(side * share / 2) for side in rgb.shape[:2])
        return rgb[y : rgb.shape[0] - y, x : rgb.shape[1] - x]

    return cut


def faded(rgb: Image) -> Image:
    """An image with half of its saturation."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint((rgb.astype(float) + grey) / 2).astype(np.uint8)


COPIES: dict[str, Callable[[Image], Image]] = {
    "the same file": lambda rgb: rgb,
    "JPEG of quality 75": packed(75),
    "JPEG of quality 40": packed(40),
    "half as large": lambda rgb: np.asarray(
        cv2.resize(rgb, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8
    ),
    "brighter": lambda rgb: np.clip(rgb * 0.9 + 20, 0, 255).astype(np.uint8),
    "half of the saturation": faded,
    "grey": lambda rgb: np.repeat(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
    "1 % cropped": cropped(0.01),
    "2 % cropped": cropped(0.02),
    "5 % cropped": cropped(0.05),
}
OTHERS: dict[str, Callable[[Image], Image]] = {
    "in other hues": in_another_hue,
    "mirrored": lambda rgb: rgb[:, ::-1].copy(),
}


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--pictures", type=int, default=500)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs; else drawn scenes")
    options = parse(parser, SMOKE)
    count = options.pictures
    made = photographs(options.images, count) if options.images else scenes(count)
    pictures = list(made)
    held_out, by_brightness = HeldOutImages(), HeldOutImages()
    for i, held in enumerate(pictures):
        held_out.add("test", str(i), held.rgb, [held.caption])
        by_brightness.add("test", str(i), held.rgb)

    def measure(name: str, change: Callable[[Image], Image], *, same_colours: bool) -> None:
        left_out, plainly, differences = 0, 0, []
        for held in pictures:
            rgb, text = change(held.rgb), held.caption if same_colours else held.other_caption
            left_out += held_out.near_duplicate("train", rgb, [text]) is not None
            plainly += by_brightness.near_duplicate("train", rgb) is not None
            colours = (fingerprint(image).colours for image in (held.rgb, rgb))
            differences.append(colour_difference(*colours))
        shares = (f"{100 * found / len(pictures):.1f}" for found in (left_out, plainly))
        right = "left out" if same_colours else "stays"
        print_row(name, right, *shares, f"{np.median(differences):.1f}")

    print_header("picture", "right", "left out, %", "by brightness, %", "colour, median")
    for name, change in COPIES.items():
        measure(name, change, same_colours=True)
    for name, change in OTHERS.items():
        measure(name, change, same_colours=False)


if __name__ == "__main__":
    main()
