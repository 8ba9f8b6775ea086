"""Batches: the same pairs, captions and chunks in the same order for every arm and world size."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.config.train import batch_of
from structxlip.features.store import FeatureStore
from structxlip.features.views import View
from structxlip.models.structxlip import Batch
from structxlip.training.augmentation import Augmentation


class BatchRows(NamedTuple):
    """The rows of a global batch in the feature store: pairs ``[N]``, and one caption of each."""

    pairs: NDArray[np.int64]
    captions: NDArray[np.int64]


class TrainingBatches:
    """Draws global batches of the training split, and gives each worker its rows.

    The content of a batch depends only on the seed, the epoch and the step: never on the arm, the
    number of workers, or an interruption. An incomplete last batch is left out.

    Args:
        store: the feature store.
        view: the inputs of the second branch, such as edge maps; None leaves out everything that
            only structural losses read.
        batch_size: pairs of a global batch.
        chunks_per_caption: chunks that are drawn from each caption.
        edge_shift_px: edge maps move by up to so many pixels each way, drawn anew for every pair
            and batch. Without it an edge encoder memorises its training maps.
        edge_px: the pixels of a side of an edge map. Cells, which are fewer, move by parts of them.
        regions_per_image: crops of edge regions for each pair, with ``crop_px`` pixels a side.
        length_window: captions are sorted by length within so many batches, and the batches are
            then shuffled, so that there is little padding.
        augmented: mirror images and change their brightness (``Augmentation``); edge maps alike.
        seed: of all draws.
        rank: the number of this worker, counted from 0.
        workers: how many workers share each batch.

    Raises ``UserError`` when the workers cannot share a batch equally.
    """

    def __init__(
        self,
        store: FeatureStore,
        view: View | None,
        *,
        batch_size: int,
        chunks_per_caption: int,
        edge_shift_px: int = 0,
        edge_px: int = 0,
        regions_per_image: int = 0,
        crop_px: int = 0,
        length_window: int = 1,
        augmented: bool = False,
        seed: int,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self.store, self.view, self.seed = store, view, seed
        self.rows = store.rows("train")
        self.batch_size = batch_of(batch_size, len(self.rows), workers)
        self.chunks_per_caption = chunks_per_caption
        self.edge_shift_px, self.edge_px = edge_shift_px, edge_px
        self.regions_per_image, self.crop_px = regions_per_image, crop_px
        self.augmented = augmented
        self.window = self.batch_size * length_window
        self.lengths = token_lengths(store.caption) if length_window > 1 else None
        share = self.batch_size // workers
        self.local_rows = slice(rank * share, (rank + 1) * share)

    @property
    def steps_per_epoch(self) -> int:
        """Full batches of the training split."""
        return len(self.rows) // self.batch_size

    def epoch(self, epoch: int) -> list[BatchRows]:
        """The rows of each global batch of an epoch."""
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
        return [BatchRows(pairs[batch], captions[batch]) for batch in batches]

    def batch(self, rows: BatchRows, epoch: int, step: int) -> Batch:
        """This worker's share of a global batch."""
        store, rng = self.store, np.random.default_rng([self.seed, epoch, step])
        chunk_rows, chunk_mask = self._draw_chunks(rows.captions, rng)
        most, local = self.edge_shift_px, self.local_rows
        shifts = rng.integers(-most, most + 1, size=(len(rows.pairs), 2))[local]
        pairs, captions = rows.pairs[local], rows.captions[local]
        images, augmentation = store.image[pairs], None
        if store.spec.copies:
            which = rng.integers(0, store.spec.copies + 1, len(rows.pairs))[local]
            images = store.recoloured(pairs, which)
        if self.augmented:
            augmentation = Augmentation.draw(rng, store.names_side[rows.captions])[local]
            images = augmentation.images(images)
        batch = Batch(
            image=torch.from_numpy(images),
            caption=torch.from_numpy(store.caption[captions]),
            group_ids=torch.from_numpy(store.group_ids[pairs]),
        )
        if self.view is None:
            return batch
        chunk_rows, mask = chunk_rows[local], chunk_mask[local]
        chunks = np.zeros((*chunk_rows.shape, *store.chunks.shape[1:]), store.chunks.dtype)
        chunks[mask] = store.chunks[chunk_rows[mask]]
        # A chunk beyond the tokens that the tower reads has no feature, or no token.
        mask &= chunks.any(axis=-1)
        maps = self.view.maps(pairs)
        seen = maps
        if most and self.view.channels > 1:
            seen = shift_cells(maps, shifts * (maps.shape[-1] / self.edge_px))
        elif most:
            seen = shift_maps(maps, shifts)
        if augmentation:
            seen = augmentation.maps(seen)
        texts = store.caption if self.view.plain_captions else store.structure
        batch |= Batch(
            structure=torch.from_numpy(texts[captions]),
            chunks=torch.from_numpy(chunks),
            chunk_mask=torch.from_numpy(mask),
            edges=torch.from_numpy(seen),
            has_structure=torch.from_numpy(self.view.has_structure[pairs]),
        )
        if self.regions_per_image:
            crops, present = self.view.crops(pairs, maps, self.regions_per_image, self.crop_px)
            if augmentation:
                crops = augmentation.maps(crops)
            batch |= Batch(regions=torch.from_numpy(crops), region_mask=torch.from_numpy(present))
        return batch

    def prefetch(
        self, rows: Sequence[BatchRows], epoch: int, start: int, threads: int
    ) -> Generator[Batch, None, None]:
        """The batches of an epoch from the step ``start`` on, prepared ahead by threads."""

        def make(step: int) -> Batch:
            batch: Any = self.batch(rows[step], epoch, step)
            if torch.cuda.is_available():  # pinned memory is copied while the GPU computes
                batch = {name: value.pin_memory() for name, value in batch.items()}
            return cast(Batch, batch)

        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                for step in range(start, len(rows)):
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
        """Rows ``[N, C]`` of up to ``chunks_per_caption`` chunks of each caption, and a mask."""
        offsets = self.store.chunk_offsets
        counts = np.diff(offsets)[captions]
        width = max(int(counts.max()), 1)
        lottery = rng.random((len(captions), width))
        lottery[np.arange(width) >= counts[:, None]] = 2.0  # absent chunks come last
        drawn = lottery.argsort(axis=1)[:, : self.chunks_per_caption]
        mask = np.take_along_axis(lottery, drawn, axis=1) < 2.0
        return offsets[captions][:, None] + drawn, mask


def shift_maps(maps: NDArray[np.float32], shifts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Maps ``[n, 1, S, S]`` moved down and right by ``shifts [n, 2]`` pixels, filled with 0."""
    moved = np.zeros_like(maps)
    size = maps.shape[-1]
    for source, target, (down, right) in zip(maps, moved, shifts.tolist(), strict=True):
        target[:, max(down, 0) : size + min(down, 0), max(right, 0) : size + min(right, 0)] = (
            source[:, max(-down, 0) : size + min(-down, 0), max(-right, 0) : size + min(-right, 0)]
        )
    return moved


def shift_cells(cells: NDArray[np.float32], shifts: NDArray[np.float64]) -> NDArray[np.float32]:
    """Cells ``[n, C, S, S]`` moved down and right by ``shifts [n, 2]`` cells.

    A cell between others is interpolated between them. The border is repeated.
    """
    place = np.arange(cells.shape[-1])
    for axis in (0, 1):
        source = np.clip(place - shifts[:, axis, None], 0, len(place) - 1)
        below = np.minimum(source.astype(np.int64), len(place) - 2)
        share = (source - below).astype(np.float32)
        shape = (len(cells), 1, -1, 1) if axis == 0 else (len(cells), 1, 1, -1)
        below, share = below.reshape(shape), share.reshape(shape)
        near, far = (np.take_along_axis(cells, below + step, axis=2 + axis) for step in (0, 1))
        cells = near + share * (far - near)
    return cells


def token_lengths(tokens: NDArray[np.int32]) -> NDArray[np.int64]:
    """The length of each text of ``tokens [M, L]`` without its padding, which is its last token."""
    differs = tokens != tokens[:, -1:]
    return (tokens.shape[1] - differs[:, ::-1].argmax(axis=1)) * differs.any(axis=1)
