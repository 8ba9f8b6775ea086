"""The embedder: a trained model, from images, edge maps and texts to unit embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from structxlip.config import Edges
from structxlip.cues import GIVEN, ConfiguredCue, EdgeMap, usable_or_blank
from structxlip.cues.prepare import resize_square
from structxlip.data.images import decode_rgb, rgb_pixels
from structxlip.data.quarantine import BadImage
from structxlip.errors import UserError
from structxlip.models.build import load_model
from structxlip.models.structxlip import model_digest
from structxlip.models.towers.image import squares

BLOCK = 64
# A path, encoded bytes, an image of Pillow, or RGB pixels ``uint8 [height, width, 3]`` (grey
# without the last axis).
Picture = str | Path | bytes | Image.Image | NDArray[np.uint8]


@dataclass(frozen=True)
class Prepared:
    """An image in the size of the model, ``uint8 [S, S, 3]``, and its edge map."""

    pixels: NDArray[np.uint8]
    edges: EdgeMap | None


class Embedder:
    """A trained model with its encoders and, where ``alpha`` is above 0, its edge branch.

    Args:
        directory: a folder that the stage `train` wrote.
        alpha: weight of the fused edge branch; 0 uses the image alone.

    Attributes:
        alpha: as given.
        cues: of the edge maps that the model was trained on; `given` means maps that came with the
            images.

    Raises ``UserError`` for a folder that holds no model, or an ``alpha`` for one without an edge
    branch.
    """

    def __init__(self, directory: Path, alpha: float) -> None:
        self.directory = directory
        self.model = load_model(directory)
        described = json.loads((directory / "preprocess.json").read_text())
        self.edges = Edges.model_validate(described["edges"])
        self.cues: list[str] = described.get("cues", [self.edges.cue])
        if self.edges.weights:
            weights = directory / Path(self.edges.weights).name
            self.edges = self.edges.model_copy(update={"weights": str(weights)})
        self.alpha = self._checked(alpha)
        self.image_encoder, self.text_encoder = self.model.encoders()
        self.read_maps = self.model.map_reader(self.image_encoder)

    @cached_property
    def cue(self) -> ConfiguredCue:
        """The detector, from RGB pixels to an edge map."""
        return ConfiguredCue(self.edges)

    @cached_property
    def digest(self) -> str:
        """A hash of the model; see ``model_digest``."""
        return model_digest(self.directory)

    def embed_images(
        self,
        images: Sequence[Picture],
        edges: Sequence[Picture | None] | None = None,
        *,
        alpha: float | None = None,
    ) -> NDArray[np.float32]:
        """Unit embeddings ``[N, D]`` of images, in their order; no images give ``[0, D]``.

        Args:
            images: paths, encoded bytes, images of Pillow, or arrays; see ``Picture``.
            edges: the edge map of each image, for a model that was trained on such maps; None for
                an image without one. With ``alpha`` 0 such maps are not read.
            alpha: weight of the edge branch; None: that of the embedder.

        Raises:
            UserError: one image alone, an entry of another kind, a file that cannot be read, or an
                image with an edge map where the model has learned from a cue, or without one where
                it has not.
            BadImage: what is no usable image or map; it says which, counted from 0.
        """
        listed, maps = self._with_maps(images, edges)
        weight = self.alpha if alpha is None else self._checked(alpha)
        starts = range(0, len(listed), BLOCK)
        return self._joined(
            self._embed_block(listed[i : i + BLOCK], maps[i : i + BLOCK], i, weight) for i in starts
        )

    def read_edges(
        self, images: Sequence[Picture], edges: Sequence[Picture | None] | None = None
    ) -> NDArray[np.float32]:
        """The edge maps of images, as the edge branch reads them.

        Arguments and errors are those of ``embed_images``.
        """
        listed, maps = self._with_maps(images, edges)
        names = [f"image {place}" for place in range(len(listed))]
        pixels = [_pixels(image, f"{name}: ") for image, name in zip(listed, names, strict=True)]
        return self.read_maps(list(map(self._edge_map, pixels, maps, names)))

    def _with_maps(
        self, images: Sequence[Picture], edges: Sequence[Picture | None] | None
    ) -> tuple[list[Picture], list[Picture | None]]:
        """The images and the map of each; see ``embed_images``."""
        listed = _images(images, "embed_images")
        maps: list[Picture | None] = [None] * len(listed) if edges is None else list(edges)
        if len(maps) != len(listed):
            raise UserError(f"there are {len(maps)} edge maps for {len(listed)} images")
        if self.cues and GIVEN not in self.cues:
            for place, given in enumerate(maps):
                if given is not None:
                    raise UserError(
                        f"image {place} brings an edge map, but the model reads maps of the cue "
                        f"{' and '.join(self.cues)}, which it makes itself; leave the map out"
                    )
        return listed, maps

    def embed_edges(self, maps: Sequence[Picture]) -> NDArray[np.float32]:
        """Unit embeddings ``[N, D]`` of edge maps or sketches without their pictures.

        Args:
            maps: as ``embed_images`` takes images. Their lines may be dark on bright or bright on
                dark; the rarer of the two counts as the lines.

        Raises:
            UserError: a model without an edge branch, a map with nothing on it, and what
                ``embed_images`` raises.
            BadImage: what is no usable picture; it says which, counted from 0.
        """
        listed = _images(maps, "embed_edges")
        self._checked(1.0)
        starts = range(0, len(listed), BLOCK)
        return self._joined(self._embed_maps(listed[i : i + BLOCK], i) for i in starts)

    def embed_parts(self, image: Picture) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Unit embeddings ``[D]`` of an image and of its edges alone.

        The edges are None for a model without an edge branch, or one that was trained on edge maps
        which the image does not bring; they are 0 for an image without structure. Raises what
        ``embed_images`` raises.
        """
        pixels = _pixels(image, "the image: ")
        content = self.model.embed_images(
            torch.from_numpy(self.image_encoder.encode([pixels])), None, 0.0
        )
        if not self.model.has_edges or self.cues == [GIVEN]:
            return content[0].numpy(), None
        maps = torch.from_numpy(self.read_maps([self._edge_map(pixels, None, "the image")]))
        return content[0].numpy(), self.model.embed_edges(maps)[0].numpy()

    def _embed_block(
        self,
        images: Sequence[Picture],
        edges: Sequence[Picture | None],
        first: int,
        alpha: float,
    ) -> Tensor:
        given = zip(images, edges, strict=True)
        prepared = [
            self.prepare(*pair, alpha=alpha, name=f"image {place}")
            for place, pair in enumerate(given, first)
        ]
        return self.embed_prepared(prepared, alpha)

    def prepare(
        self, image: Picture, edges: Picture | None = None, *, alpha: float, name: str
    ) -> Prepared:
        """An image as the model reads it. Several threads may prepare images at once.

        Args:
            image: as ``embed_images`` takes images.
            edges: its edge map, likewise.
            alpha: 0 makes no edge map.
            name: of the image, for errors, which are those of ``embed_images``.
        """
        pixels = _pixels(image, f"{name}: ")
        edge_map = self._edge_map(pixels, edges, name) if alpha else None
        return Prepared(squares([pixels], self.image_encoder.image_px)[0], edge_map)

    def embed_prepared(self, prepared: Sequence[Prepared], alpha: float) -> Tensor:
        """Unit embeddings ``[N, D]`` of what ``prepare`` made with the same alpha."""
        encoded = self.image_encoder.encode([one.pixels for one in prepared])
        maps = [one.edges for one in prepared if one.edges is not None]
        read = torch.from_numpy(self.read_maps(maps)) if alpha else None
        return self.model.embed_images(torch.from_numpy(encoded), read, alpha)

    def _embed_maps(self, maps: Sequence[Picture], first: int) -> Tensor:
        found = []
        for place, given in enumerate(maps, first):
            edges = self._as_map(_pixels(given, f"edge map {place}: "))
            if not edges.any():
                raise UserError(f"edge map {place} has nothing on it; draw some lines")
            found.append(edges)
        return self.model.embed_edges(torch.from_numpy(self.read_maps(found)))

    def _as_map(self, lines: NDArray[np.uint8]) -> EdgeMap:
        """A picture of lines alone in the form of the maps that the model was trained on.

        Where these are soft maps of a cue, the lines are the map: the cue would find both sides of
        each line.
        """
        if self.cue.is_binary or self.cue.channels > 1 or GIVEN in self.cues:
            return self.cue.of_given(lines)
        grey = lines.mean(axis=2)
        if grey.mean() > 127.5:
            grey = 255 - grey
        return resize_square(grey.astype(np.uint8), self.edges.size_px)[None].astype(np.uint8)

    def _edge_map(self, rgb: NDArray[np.uint8], given: Picture | None, name: str) -> EdgeMap:
        """The edge map of an image; one without structure is empty and adds nothing, as in
        evaluation."""
        if given is not None:
            edges = self.cue.of_given(_pixels(given, f"{name}: its edge map: "))
        elif self.cues == [GIVEN]:
            raise UserError(
                f"{name} needs its edge map: the model was trained on maps that came with "
                f"the images; send the map too, or use alpha 0"
            )
        else:
            edges = self.cue(rgb)
        return usable_or_blank(edges, self.edges)

    def _checked(self, alpha: float) -> float:
        """A weight that this model can use; ``UserError`` for another one."""
        if not 0 <= alpha < float("inf"):
            raise UserError(f"alpha is a weight of 0 or more, not {alpha}")
        if alpha and not self.model.has_edges:
            raise UserError(
                f"{self.directory} has no edge branch, so that it knows no structure and alpha is "
                f"0; take the arm structxlip"
            )
        return alpha

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


def _images(values: Any, name: str) -> list[Picture]:
    rule = f"{name} takes a list of images: paths, bytes, images of Pillow or arrays"
    if isinstance(values, np.ndarray) and values.ndim < 4 and values.dtype != object:
        raise UserError(f"{rule}, not one ndarray")
    return _listed(values, (str, Path, bytes, Image.Image, np.ndarray), rule)


def _listed(values: Any, kind: type | tuple[type, ...], rule: str) -> list[Any]:
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


def _pixels(picture: Picture, what: str) -> NDArray[np.uint8]:
    """RGB pixels; ``what`` names the picture in errors."""
    try:
        if isinstance(picture, np.ndarray):
            return _array(picture, what)
        if isinstance(picture, Image.Image):
            return rgb_pixels(picture)
        return decode_rgb(picture if isinstance(picture, bytes) else Path(picture).read_bytes())
    except BadImage as error:
        raise BadImage(error.reason, f"{what}{error.detail}") from None
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        raise UserError(f"{what}cannot be read ({error})") from None


def _array(picture: NDArray[Any], what: str) -> NDArray[np.uint8]:
    if picture.dtype != np.uint8 or picture.shape[2:] not in ((), (3,)) or not picture.size:
        raise UserError(
            f"{what}an array must be uint8 [height, width, 3] or [height, width], "
            f"not {picture.dtype} {list(picture.shape)}"
        )
    return np.repeat(picture[..., None], 3, axis=2) if picture.ndim == 2 else picture
