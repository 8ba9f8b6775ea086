"""Batches: the same pairs, captions and chunks in the same order for every arm and world size."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.errors import UserError
from structxlip.models.structxlip import Batch
from structxlip.training.augmentation import Augmentation


class Draw(NamedTuple):
    """The pairs ``[N]`` of a global batch, and the caption of each."""

    pairs: NDArray[np.int64]
    captions: NDArray[np.int64]


class TrainingBatches:
    """Draws global batches of the training split, and hands each worker its rows.

    What a batch holds depends only on the seed, the epoch and the step: never on the arm, the
    number of workers, or where a run was interrupted. An incomplete last batch is left out.

    Args:
        edges: None leaves out what only the structural losses need.
        edge_shift_px: edge maps are moved by up to so many pixels each way, drawn anew for every
            pair and batch; without it an edge encoder learns its training maps by heart.
        regions_per_image: crops of edge regions of each pair, of ``crop_px`` pixels a side.
        length_window: tokens are sorted by length within so many batches, and the batches shuffled:
            what is read together is about as long, and little is padding.
        augmented: mirror and light pixels (``Augmentation``), edge maps alike.
    """

    def __init__(
        self,
        store: FeatureStore,
        edges: EdgeMaps | None,
        *,
        batch_size: int,
        chunks_per_caption: int,
        edge_shift_px: int = 0,
        regions_per_image: int = 0,
        crop_px: int = 0,
        length_window: int = 1,
        augmented: bool = False,
        seed: int,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self.store, self.edges, self.seed = store, edges, seed
        self.rows = store.rows("train")
        self.batch_size = min(batch_size, len(self.rows))
        if not self.batch_size or self.batch_size % workers:
            raise UserError(
                f"{workers} workers cannot share the batch of {self.batch_size} pairs that the "
                f"training split of {len(self.rows)} allows; set machine.workers to 1"
            )
        self.chunks_per_caption = chunks_per_caption
        self.edge_shift_px = edge_shift_px
        self.regions_per_image, self.crop_px = regions_per_image, crop_px
        self.augmented = augmented
        self.window = self.batch_size * length_window
        self.lengths = token_lengths(store.caption) if length_window > 1 else None
        share = self.batch_size // workers
        self.mine = slice(rank * share, (rank + 1) * share)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.rows) // self.batch_size

    def epoch(self, epoch: int) -> list[Draw]:
        """What each global batch of an epoch holds."""
        rng = np.random.default_rng([self.seed, epoch])
        pairs = rng.permutation(self.rows)[: self.steps_per_epoch * self.batch_size]
        offsets = self.store.caption_offsets
        counts = np.diff(offsets)[pairs]
        captions = offsets[pairs] + (rng.random(len(pairs)) * counts).astype(np.int64)
        order = np.arange(len(pairs))
        if self.lengths is not None:
            lengths = self.lengths[captions]
            windows = order // self.window
            order = np.lexsort((lengths, windows))
        batches = order.reshape(-1, self.batch_size)
        if self.lengths is not None:
            batches = rng.permuted(rng.permutation(batches), axis=1)
        return [Draw(pairs[batch], captions[batch]) for batch in batches]

    def batch(self, draw: Draw, epoch: int, step: int) -> Batch:
        """This worker's part of a global batch."""
        store, rng = self.store, np.random.default_rng([self.seed, epoch, step])
        chunk_rows, chunk_mask = self._draw_chunks(draw.captions, rng)
        most, mine = self.edge_shift_px, self.mine
        shifts = rng.integers(-most, most + 1, size=(len(draw.pairs), 2))[mine]
        pairs, captions = draw.pairs[mine], draw.captions[mine]
        images, augmentation = store.image[pairs], None
        if self.augmented:
            augmentation = Augmentation.draw(rng, store.sided[draw.captions])[mine]
            images = augmentation.images(images)
        batch = Batch(
            image=torch.from_numpy(images),
            caption=torch.from_numpy(store.caption[captions]),
            group_ids=torch.from_numpy(store.group_ids[pairs]),
        )
        if self.edges is None:
            return batch
        rows, mask = chunk_rows[mine], chunk_mask[mine]
        chunks = np.zeros((*rows.shape, *store.chunks.shape[1:]), store.chunks.dtype)
        chunks[mask] = store.chunks[rows[mask]]
        # A chunk that truncation cut away has no feature, or no token.
        mask &= chunks.any(axis=-1)
        maps = self.edges.maps(pairs)
        seen = shift_maps(maps, shifts) if most else maps
        if augmentation:
            seen = augmentation.maps(seen)
        batch |= Batch(
            structure=torch.from_numpy(store.structure[captions]),
            chunks=torch.from_numpy(chunks),
            chunk_mask=torch.from_numpy(mask),
            edges=torch.from_numpy(seen),
            has_structure=torch.from_numpy(self.edges.has_structure[pairs]),
        )
        if self.regions_per_image:
            crops, present = self.edges.crops(pairs, maps, self.regions_per_image, self.crop_px)
            if augmentation:
                crops = augmentation.maps(crops)
            batch |= Batch(regions=torch.from_numpy(crops), region_mask=torch.from_numpy(present))
        return batch

    def ahead(
        self, draws: Sequence[Draw], epoch: int, start: int, threads: int
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch from the step ``start`` on, made ``threads`` at a time before
        they are asked for."""

        def make(step: int) -> Batch:
            batch: Any = self.batch(draws[step], epoch, step)
            if torch.cuda.is_available():  # from pinned memory it is copied beside the work
                batch = {name: value.pin_memory() for name, value in batch.items()}
            return cast(Batch, batch)

        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(start, len(draws)):
                    waiting.append(pool.submit(make, step))
                    if len(waiting) > threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _draw_chunks(
        self, captions: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows and mask ``[N, C]`` of up to ``chunks_per_caption`` chunks of each caption."""
        offsets = self.store.chunk_offsets
        counts = np.diff(offsets)[captions]
        width = max(int(counts.max()), 1)
        lottery = rng.random((len(captions), width))
        lottery[np.arange(width) >= counts[:, None]] = 2.0  # what is not there comes last
        drawn = lottery.argsort(axis=1)[:, : self.chunks_per_caption]
        mask = np.take_along_axis(lottery, drawn, axis=1) < 2.0
        return offsets[captions][:, None] + drawn, mask


def shift_maps(maps: NDArray[np.float32], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Maps ``[n, 1, S, S]`` moved down and right by ``shifts [n, 2]``; what comes in is 0."""
    moved = np.zeros_like(maps)
    size = maps.shape[-1]
    for source, target, (down, right) in zip(maps, moved, shifts.tolist(), strict=True):
        target[:, max(down, 0) : size + min(down, 0), max(right, 0) : size + min(right, 0)] = (
            source[:, max(-down, 0) : size + min(-down, 0), max(-right, 0) : size + min(-right, 0)]
        )
    return moved


def token_lengths(tokens: NDArray[np.int32]) -> NDArray[np.int64]:
    """How long each of ``tokens [M, L]`` is without its padding, the token that it ends in."""
    differs = tokens != tokens[:, -1:]
    return (tokens.shape[1] - differs[:, ::-1].argmax(axis=1)) * differs.any(axis=1)
