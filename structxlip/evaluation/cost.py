"""The time that an image takes to embed, part by part."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config import Edges
from structxlip.cues import ConfiguredCue, EdgeMap
from structxlip.data.images import decode_rgb
from structxlip.models.structxlip import StructXLIP

PARTS = {
    "decode": "decoding",
    "image": "image tower and head",
    "edge_map": "edge map",
    "edge_branch": "edge branch",
}


def embedding_cost(model: StructXLIP, settings: Edges, images: Sequence[bytes]) -> dict[str, float]:
    """Milliseconds of each of ``PARTS``, on one core of the processor: medians over the images,
    which go through one at a time.

    Args:
        model: a model; one without an edge branch has no parts of edges.
        settings: of the edge maps.
        images: encoded, one at least; the first one of several warms up.

    Raises ``UserError`` for towers that cannot be had.
    """
    encoder, _ = model.encoders()
    model = model.to("cpu").eval()
    cue, read_maps = ConfiguredCue(settings), model.map_reader(encoder)
    found: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[..., Any], *inputs: Any) -> Any:
        started = time.perf_counter()
        result = work(*inputs)
        found.setdefault(name, []).append(1000 * (time.perf_counter() - started))
        return result

    def embed_image(rgb: NDArray[np.uint8]) -> None:
        model.embed_images(torch.from_numpy(encoder.encode([rgb])), None, 0.0)

    def embed_edges(edges: EdgeMap) -> None:
        model.embed_edges(torch.from_numpy(read_maps([edges])))

    with _one_thread(), torch.inference_mode():
        for data in images:
            rgb = timed("decode", decode_rgb, data)
            timed("image", embed_image, rgb)
            if model.has_edges:
                timed("edge_branch", embed_edges, timed("edge_map", cue, rgb))
    return {name: median(times[1:] or times) for name, times in found.items()}


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
