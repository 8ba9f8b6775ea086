"""What the service is asked and what it answers, and the limits of both."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Annotated, Literal

from fastapi import HTTPException
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from structxlip.serving.search import Question

MAX_BYTES = 20 * 2**20  # of a request
MAX_PIXELS = 25_000_000
MAX_TEXT = 4000  # characters
MAX_ITEMS, MAX_K = 64, 200
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT, pattern=r"\S")]
Base64 = Annotated[str, Field(description="An encoded image, as base64.")]


class SearchRequest(BaseModel):
    """Exactly one of ``text``, ``image``, ``id`` and ``sketch``."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={"examples": [{"text": "a red boat left of a star", "k": 5}]},
    )
    text: Text | None = None
    image: Base64 | None = None
    id: Annotated[str, Field(max_length=1000)] | None = None
    sketch: Base64 | None = None
    by: Literal["content", "fused", "structure"] | None = None
    alpha: Annotated[float, Field(ge=0, le=100)] | None = None
    beta: Annotated[float, Field(ge=0, le=100)] | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 20
    split: Annotated[str, Field(max_length=100)] | None = None

    def question(self) -> Question:
        """The question to the searcher, with decoded pictures; raises ``HTTPException``."""
        return Question(
            text=self.text,
            image=None if self.image is None else decoded(self.image, "image"),
            like=self.id,
            sketch=None if self.sketch is None else decoded(self.sketch, "sketch"),
            by=self.by,
            k=self.k,
            alpha=self.alpha,
            split=self.split,
            beta=self.beta,
        )


class Answer(BaseModel):
    """One image that was found."""

    rank: int
    score: float
    id: str
    split: str
    captions: list[str]


class SearchAnswer(BaseModel):
    """The images that were found, the best first, and the digest of the model that found them."""

    model: str
    hits: list[Answer]


class EmbedRequest(BaseModel):
    """Texts, images and edge maps to embed."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"texts": ["a red boat"]}]}
    )
    texts: Annotated[list[Text], Field(max_length=MAX_ITEMS)] = []
    images: Annotated[list[Base64], Field(max_length=MAX_ITEMS)] = []
    edges: Annotated[list[Base64], Field(max_length=MAX_ITEMS)] = []


class EmbedAnswer(BaseModel):
    """Unit embeddings, in the order of the request, and the digest of the model that made them."""

    model: str
    texts: list[list[float]]
    images: list[list[float]]
    edges: list[list[float]]


class Refused(BaseModel):
    """Why a request is not answered."""

    detail: str


def decoded(data: str, what: str) -> bytes:
    """The bytes of an image of a request; an ``HTTPException`` for what is too large or none."""
    try:
        encoded = base64.b64decode(data, validate=True)
        width, height = Image.open(io.BytesIO(encoded)).size
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError):
        raise HTTPException(400, f"{what} is no image that can be read") from None
    except (binascii.Error, ValueError):
        raise HTTPException(400, f"{what} is not base64") from None
    if width * height > MAX_PIXELS:
        raise HTTPException(413, f"{what} has more than {MAX_PIXELS:,} pixels")
    return encoded
