"""The kinds of datasets: what an entry under `datasets:` says of each."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from structxlip.config.section import Positive, Section


class Scenes(Section):
    """The built-in drawings; ``path`` is the vocabulary that they are drawn and described with."""

    kind: Literal["scenes"]
    path: str
    train: Positive
    val: Positive
    test: Positive
    image_px: Annotated[int, Field(ge=64, le=1024)] = 160
    captions_per_image: Positive = 1


class Flickr(Section):
    """The public Flickr8k/30k layout under the folder ``path``."""

    kind: Literal["flickr"]
    path: str
    images: str = "Images"
    captions: str = "captions.txt"
    splits: dict[Literal["train", "val", "test"], str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Flickr:
        if self.splits and not {"train", "test"} <= set(self.splits):
            raise ValueError("needs the lists of both train and test, or none to split by hash")
        return self


Dataset = Annotated[Scenes | Flickr, Field(discriminator="kind")]
