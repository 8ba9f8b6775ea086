"""The sides of a model as modules from plain tensors to unit embeddings, and as ONNX files."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import normalize

from structxlip.cues import branch_input
from structxlip.errors import UserError
from structxlip.models.structxlip import StructXLIP
from structxlip.models.towers import ImageTower, SentenceTower, TextTower

if TYPE_CHECKING:
    from structxlip.serving.embedder import Embedder

OUTPUT = "unit_embeddings"
TOLERANCE = 1e-4  # of a number of a unit embedding
CHECKED_ROWS = (1, 7)
TEXTS = ("a red boat", "two small striped fish swim to the left of a big star", "a tree")
Inputs = tuple[Tensor, ...]


class ImageGraph(nn.Module):
    """Pixels ``uint8 [N, S, S, 3]`` to ``[N, D]``."""

    def __init__(self, model: StructXLIP, tower: ImageTower | None) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, pixels: Tensor) -> Tensor:
        read = pixels if self.tower is None else self.tower(pixels)
        return normalize(self.model.image_features(read), dim=-1)


class TextGraph(nn.Module):
    """The ids of tokens ``int64 [N, L]``, and their attention mask where the tower reads one, to
    ``[N, D]``."""

    def __init__(self, model: StructXLIP, tower: TextTower | None) -> None:
        super().__init__()
        self.model, self.tower = model, tower

    def forward(self, *inputs: Tensor) -> Tensor:
        read = inputs[0]
        if self.tower is not None:
            names = MASKED if isinstance(self.tower, SentenceTower) else ("text",)
            read, _ = self.tower(dict(zip(names, inputs, strict=True)))
        return normalize(self.model.text_features(read), dim=-1)


class EdgeGraph(nn.Module):
    """Edge maps to ``[N, D]``, 0 for a map without lines.

    Maps are what ``branch_input`` gives, ``float32 [N, channels, S, S]``; those that an image tower
    reads are drawings, dark lines on white, ``uint8 [N, S, S, 3]``.
    """

    def __init__(self, model: StructXLIP, tower: ImageTower | None, grid: int) -> None:
        super().__init__()
        self.model, self.tower, self.grid = model, tower, grid

    def forward(self, maps: Tensor) -> Tensor:
        nothing = 0 if self.tower is None else 255
        present = (maps != nothing).flatten(1).any(dim=1)[:, None]
        read = maps if self.tower is None else self.tower.patches(maps, self.grid)
        return present * normalize(self.model.edge_features(read), dim=-1)


MASKED = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Graph:
    """One side of a model.

    Attributes:
        module: from inputs to unit embeddings.
        names: of its inputs.
        dynamic: for each input the axes that may have any length.
        examples: inputs of so many rows.
    """

    module: nn.Module
    names: tuple[str, ...]
    dynamic: tuple[tuple[int, ...], ...]
    examples: Callable[[int], Inputs]

    def write(self, file: Path) -> None:
        """Write the graph as ONNX, and check that onnxruntime computes what torch does.

        Raises ``UserError`` where it does not.
        """
        any_length = torch.export.Dim.DYNAMIC
        shapes = tuple(dict.fromkeys(axes, any_length) for axes in self.dynamic)
        one = isinstance(self.module, TextGraph)  # its inputs are one argument, `*inputs`
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            logging.getLogger("torch.onnx").setLevel(logging.ERROR)
            torch.onnx.export(
                self.module.eval(),
                self.examples(2),
                file,
                input_names=list(self.names),
                output_names=[OUTPUT],
                dynamic_shapes=(shapes,) if one else shapes,
                external_data=False,
                verbose=False,
            )
        for rows in CHECKED_ROWS:
            given = self.examples(rows)
            with torch.no_grad():
                expected = self.module(*given).numpy()
            error = float(np.abs(run(session(file), given) - expected).max())
            if not error <= TOLERANCE:
                raise UserError(
                    f"{file.name} differs from the model by {error:.1g} on {rows} rows; "
                    f"nothing is exported"
                )


def graphs(embedder: Embedder) -> dict[str, Graph]:
    """The sides of a model by the names of their files: `image`, `text` and, where it has an edge
    branch, `edges`."""
    model = embedder.model.cpu().eval()
    images, texts = embedder.image_encoder, embedder.text_encoder
    tower = images if isinstance(images, ImageTower) else None
    reader = texts if isinstance(texts, TextTower) else None
    masked = isinstance(reader, SentenceTower)

    def pixels(rows: int) -> Inputs:
        return (_random((rows, images.image_px, images.image_px, 3)),)

    def tokens(rows: int) -> Inputs:
        asked = [TEXTS[row % len(TEXTS)] for row in range(rows)]
        if reader is None:
            return (torch.from_numpy(texts.encode(asked)[0]).long(),)
        read, _ = reader.tokenize(asked)
        return tuple(read[name].long() for name in (MASKED if masked else ("text",)))

    found = {
        "image": Graph(ImageGraph(model, tower), ("pixels",), ((0,),), pixels),
        "text": Graph(
            TextGraph(model, reader),
            MASKED if masked else ("tokens",),
            ((0, 1), (0, 1)) if masked else ((0,),),
            tokens,
        ),
    }
    if model.has_edges:
        read_by, grid = embedder.read_maps.tower, embedder.read_maps.grid

        def maps(rows: int) -> Inputs:
            if read_by is not None:
                drawings = _random((rows, read_by.image_px, read_by.image_px, 3))
                drawings[1:2] = 255  # one without lines
                return (drawings,)
            given = _random((rows, *branch_input(embedder.cue.blank).shape)).float() / 255
            given[1:2] = 0
            return (given,)

        name = "maps" if read_by is None else "drawings"
        found["edges"] = Graph(EdgeGraph(model, read_by, grid), (name,), ((0,),), maps)
    return found


def _random(shape: Sequence[int]) -> Tensor:
    """Bytes without any pattern, the same in every call."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def session(file: Path) -> Any:
    """An ONNX file as onnxruntime runs it on the processor."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def run(opened: Any, inputs: Sequence[Tensor]) -> NDArray[np.float32]:
    """The unit embeddings of a ``session`` for its inputs in their order."""
    names = [given.name for given in opened.get_inputs()]
    feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
    found: NDArray[np.float32] = opened.run(None, feed)[0]
    return found
