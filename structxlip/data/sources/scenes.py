"""The built-in drawings as a source of pairs."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from structxlip.config import Scenes
from structxlip.data.pairs import Box, RawPair
from structxlip.data.scenes import SceneObject, Vocabulary, draw_scene, load_vocabulary
from structxlip.data.sources.base import Source
from structxlip.errors import UserError

# Each split draws from its own range of indices, so that growing one moves nothing in another.
SPLIT_OFFSET = 10_000_000


def open_scenes(dataset: Scenes, *, seed: int) -> Source:
    try:
        vocabulary = load_vocabulary(dataset.path)
    except ValueError as error:
        raise UserError(str(error)) from None
    sizes = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    pairs = _draw(dataset, sizes, vocabulary, seed)
    return Source(pairs, size=sum(sizes.values()), splits=frozenset(sizes), drawn=True)


def _draw(
    dataset: Scenes, sizes: dict[str, int], vocabulary: Vocabulary, seed: int
) -> Iterator[RawPair]:
    for number, (split, size) in enumerate(sizes.items()):
        for index in range(size):
            try:
                scene = draw_scene(
                    number * SPLIT_OFFSET + index,
                    seed=seed,
                    image_px=dataset.image_px,
                    captions_per_image=dataset.captions_per_image,
                    vocabulary=vocabulary,
                )
            except ValueError as error:  # phrases that fill no caption
                raise UserError(f"{dataset.path}: {error}") from None
            data = _jpeg(scene.image)
            name = f"{split}-{index:06d}"
            yield RawPair(
                id=name,
                read_image=lambda data=data: data,  # type: ignore[misc]
                captions=scene.captions,
                group=name,
                source="scenes",
                split=split,
                boxes=[_box(thing) for thing in scene.objects],
            )


def _jpeg(rgb: NDArray[np.uint8]) -> bytes:
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    assert ok, "OpenCV could not encode a drawing"
    return encoded.tobytes()


def _box(thing: SceneObject) -> Box:
    x, y, w, h = map(int, thing.box)
    return Box(x, y, w, h, thing.shape)
