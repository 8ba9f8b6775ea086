"""Validation after each epoch: R@1 on a fixed sample, computed by all workers together."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from structxlip.errors import UserError
from structxlip.features.groups import caption_groups
from structxlip.features.store import FeatureStore
from structxlip.models.structxlip import StructXLIP
from structxlip.training.parallel import World

BLOCK = 256  # images or captions that a worker embeds or ranks at once


@torch.inference_mode()
def validation_recall(
    model: StructXLIP, store: FeatureStore, world: World | None = None, images: int | None = None
) -> dict[str, float]:
    """R@1 both ways on the validation split, of images alone, in percent. All workers must call it.

    The workers deal out fixed blocks of rows. So the numbers, to the last bit, are those of one
    worker.

    Args:
        model: is put into evaluation mode.
        store: the features.
        world: the workers; one by default.
        images: of the split that are taken, the same ones each time; all by default.

    Raises ``UserError`` for an empty split.
    """
    world = world or World()
    model.eval()
    rows = store.sample(store.rows("val"), images)
    if not len(rows):
        raise UserError("the split 'val' has no pairs, so that nothing can be validated")
    captions, text_to_image = store.captions_of(rows)
    groups = caption_groups(text_to_image, store.caption_ids[captions])

    def on_device(values: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(values).to(world.device)

    found_images = _in_blocks(
        lambda block: model.embed_images(on_device(store.image[block]), None, 0.0), rows, world
    )
    found_texts = _in_blocks(
        lambda block: model.embed_texts(on_device(store.caption[block])), captions, world
    )
    of_images, of_texts = on_device(groups), on_device(groups[text_to_image])

    def recall(
        queries: Tensor, query_groups: Tensor, gallery: Tensor, gallery_groups: Tensor
    ) -> float:
        def hits(block: NDArray[np.int64]) -> Tensor:
            asked = on_device(block)
            right = query_groups[asked][:, None] == gallery_groups
            return is_hit(queries[asked] @ gallery.T, right)[:, None]

        return 100 * float(_in_blocks(hits, np.arange(len(queries)), world).mean())

    return {
        "val/image_to_text/R@1": recall(found_images, of_images, found_texts, of_texts),
        "val/text_to_image/R@1": recall(found_texts, of_texts, found_images, of_images),
    }


def is_hit(scores: Tensor, right: Tensor) -> Tensor:
    """Whether a right answer stands first, ``[Q]``; a wrong one with the same score is before it.

    ``scores`` and boolean ``right`` are ``[Q, M]``.
    """
    lowest = torch.finfo(scores.dtype).min
    best = scores.masked_fill(~right, lowest).amax(dim=1)
    return best > scores.masked_fill(right, lowest).amax(dim=1)


def _in_blocks(
    make: Callable[[NDArray[np.int64]], Tensor], rows: NDArray[np.int64], world: World
) -> Tensor:
    """What ``make`` gives for blocks of rows, ``[N, D]`` in float32: each worker makes every
    ``world.size``-th block, and gets all of them."""
    blocks = np.array_split(rows, math.ceil(len(rows) / BLOCK))
    turns = math.ceil(len(blocks) / world.size)
    # The workers of a sharded model call it together: one whose turn is void repeats the last.
    own = [blocks[min(turn * world.size + world.rank, len(blocks) - 1)] for turn in range(turns)]
    longest = len(blocks[0])
    made = [pad(part, (0, 0, 0, longest - len(part))) for part in (make(b).float() for b in own)]
    dealt = torch.stack(world.gather(torch.stack(made)), dim=1).flatten(0, 1)
    return torch.cat([part[: len(block)] for part, block in zip(dealt, blocks, strict=False)])
