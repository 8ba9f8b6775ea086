"""The built-in drawn scenes as a source of pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from structxlip.config.datasets import DatasetEntry
from structxlip.config.section import Positive, Seed
from structxlip.data.pairs import Box, RawPair
from structxlip.data.sources.base import Source
from structxlip.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from structxlip.data.scenes import SceneObject, Vocabulary

# Each split has its own range of scene numbers, so that a split can grow without any change in the
# others.
SPLIT_OFFSET = 10_000_000


class Scenes(DatasetEntry):
    """The built-in drawings. ``path`` is the vocabulary: the shapes, colours and phrases."""

    kind: Literal["scenes"]
    path: str = Field(
        description="The vocabulary of the drawings, a YAML file.",
        examples=["structxlip/data/scenes.yaml"],
    )
    train: Positive = Field(description="Training drawings.", examples=[3000])
    val: Positive = Field(description="Validation drawings.", examples=[400])
    test: Positive = Field(description="Test drawings.", examples=[800])
    image_px: Annotated[int, Field(ge=64, le=1024)] = Field(
        160, description="Side of a drawing, in pixels."
    )
    captions_per_image: Positive = Field(1, description="Captions of each drawing.")
    seed: Seed = Field(
        0,
        description="The random number of the drawings. Another one: other drawings in all splits.",
    )


def open_scenes(dataset: Scenes) -> Source:
    """Draw the scenes of every split. Each depends on the dataset's seed and its number alone."""
    from structxlip.data.scenes import load_vocabulary

    try:
        vocabulary = load_vocabulary(dataset.path)
    except ValueError as error:
        raise UserError(str(error)) from None
    sizes = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    pairs = _draw(dataset, sizes, vocabulary)
    return Source(pairs, size=sum(sizes.values()), splits=frozenset(sizes), drawn=True)


def _draw(dataset: Scenes, sizes: dict[str, int], vocabulary: Vocabulary) -> Iterator[RawPair]:
    from structxlip.data.scenes import draw_scene

    for split_number, (split, size) in enumerate(sizes.items()):
        for index in range(size):
            try:
                scene = draw_scene(
                    split_number * SPLIT_OFFSET + index,
                    seed=dataset.seed,
                    image_px=dataset.image_px,
                    captions_per_image=dataset.captions_per_image,
                    vocabulary=vocabulary,
                )
            except ValueError as error:  # the phrases make no caption of the right length
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
    import cv2

    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    assert ok, "OpenCV could not encode a drawing"
    return encoded.tobytes()


def _box(thing: SceneObject) -> Box:
    x, y, w, h = map(int, thing.box)
    return Box(x, y, w, h, thing.shape)
