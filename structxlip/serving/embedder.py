"""The embedder: a trained model, from image bytes and texts to unit embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from structxlip.config import Edges
from structxlip.cues import GIVEN, ConfiguredCue, EdgeMap, usable_or_blank
from structxlip.data.images import decode_rgb
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.models.build import load_model

BLOCK = 64


class Embedder:
    """A trained model with its encoders and, where ``alpha`` is above 0, its edge branch.

    Args:
        directory: a folder that the stage `train` wrote.
        alpha: weight of the fused edge branch; 0 uses the image alone.

    Attributes:
        cues: of the edge maps that the model was trained on; `given` means maps that came with the
            images.

    Raises ``UserError`` for a folder that holds no model.
    """

    def __init__(self, directory: Path, alpha: float) -> None:
        self.model = load_model(directory)
        described = json.loads((directory / "preprocess.json").read_text())
        self.edges = Edges.model_validate(described["edges"])
        self.cues: list[str] = described.get("cues", [self.edges.cue])
        if self.edges.weights:
            weights = directory / Path(self.edges.weights).name
            self.edges = self.edges.model_copy(update={"weights": str(weights)})
        if alpha:
            self.cue = ConfiguredCue(self.edges)
        self.alpha = alpha
        self.image_encoder, self.text_encoder = self.model.encoders()
        self.read_maps = self.model.map_reader(self.image_encoder)

    def embed_images(
        self, encoded: Sequence[bytes], edges: Sequence[bytes | None] | None = None
    ) -> NDArray[np.float32]:
        """Unit embeddings ``[N, D]`` of encoded images; no images give ``[0, D]``.

        Args:
            encoded: the images.
            edges: the encoded edge map of each image, for a model that was trained on such maps;
                None for an image without one. With ``alpha`` 0 such maps are not read.

        Raises:
            UserError: one image alone, an entry that is not bytes, or an image with an edge map
                where the model has learned from a cue, or without one where it has not.
            BadImage: bytes that are no usable image or map; it says which, counted from 0.
        """
        images, maps = self._checked(encoded, edges)
        starts = range(0, len(images), BLOCK)
        return self._joined(
            [self._embed_block(images[i : i + BLOCK], maps[i : i + BLOCK], i) for i in starts]
        )

    def read_edges(
        self, encoded: Sequence[bytes], edges: Sequence[bytes | None] | None = None
    ) -> NDArray[np.float32]:
        """The edge maps of images, as the edge branch reads them; with ``alpha`` above 0.

        Arguments and errors are those of ``embed_images``.
        """
        images, maps = self._checked(encoded, edges)
        pixels = [_decoded(data, place) for place, data in enumerate(images)]
        return self.read_maps(list(map(self._edge_map, pixels, maps, range(len(pixels)))))

    def _checked(
        self, encoded: Sequence[bytes], edges: Sequence[bytes | None] | None
    ) -> tuple[list[bytes], list[bytes | None]]:
        images = _listed(encoded, bytes, "embed_images takes a list of encoded images as bytes")
        maps: list[bytes | None] = [None] * len(images) if edges is None else list(edges)
        if len(maps) != len(images):
            raise UserError(f"there are {len(maps)} edge maps for {len(images)} images")
        if self.cues and GIVEN not in self.cues:
            for place, given in enumerate(maps):
                if given is not None:
                    raise UserError(
                        f"image {place} brings an edge map, but the model reads maps of the cue "
                        f"{' and '.join(self.cues)}, which it makes itself; leave the map out"
                    )
        return images, maps

    def _embed_block(
        self, encoded: Sequence[bytes], edges: Sequence[bytes | None], first: int
    ) -> Tensor:
        pixels = [_decoded(data, first + place) for place, data in enumerate(encoded)]
        features = torch.from_numpy(self.image_encoder.encode(pixels))
        maps = None
        if self.alpha:
            found = [
                self._edge_map(*pair, first + place)
                for place, pair in enumerate(zip(pixels, edges, strict=True))
            ]
            maps = torch.from_numpy(self.read_maps(found))
        return self.model.embed_images(features, maps, self.alpha)

    def _edge_map(self, rgb: NDArray[np.uint8], given: bytes | None, place: int) -> EdgeMap:
        """The edge map of an image; one without structure is empty and adds nothing, as in
        evaluation."""
        if given is not None:
            edges = self.cue.of_given(_decoded(given, place, "its edge map: "))
        elif self.cues == [GIVEN]:
            raise UserError(
                f"image {place} needs its edge map: the model was trained on maps that came with "
                f"the images; send the map too, or use alpha 0"
            )
        else:
            edges = self.cue(rgb)
        return usable_or_blank(edges, self.edges)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit embeddings ``[M, D]`` of texts; no texts give ``[0, D]``.

        Raises ``UserError`` for one text alone, or an entry that is no text.
        """
        listed = _listed(texts, str, "embed_texts takes a list of texts")
        if not listed:
            return self._joined([])
        read, _ = self.text_encoder.encode(listed)
        return self._joined(map(self.model.embed_texts, torch.from_numpy(read).split(BLOCK)))

    def _joined(self, blocks: Iterable[Tensor]) -> NDArray[np.float32]:
        none = np.zeros((0, self.model.embed_dim), np.float32)
        return np.concatenate([none, *(block.numpy() for block in blocks)])


def _listed(values: Any, kind: type, rule: str) -> list[Any]:
    """The values as a list; ``UserError`` with the ``rule`` unless all are of the kind."""
    if isinstance(values, (str, bytes, bytearray, memoryview, Mapping)) or not hasattr(
        values, "__iter__"
    ):
        raise UserError(f"{rule}, not one {type(values).__name__}")
    listed = list(values)
    for place, value in enumerate(listed):
        if not isinstance(value, kind):
            raise UserError(f"{rule}; number {place} is of type {type(value).__name__}")
    return listed


def _decoded(data: bytes, place: int, what: str = "") -> NDArray[np.uint8]:
    try:
        return decode_rgb(data)
    except BadImage as error:
        raise BadImage(error.reason, f"image {place}: {what}{error.detail}") from None
