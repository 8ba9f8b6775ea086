"""Batches: the same pairs, captions and chunks in the same order for every arm and world size."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from structxlip.data.feature_store import EdgeMaps, FeatureStore
from structxlip.models.structxlip import Batch


class TrainingBatches:
    """Draws global batches of the training split, and hands each worker its rows.

    What a batch holds depends only on the seed, the epoch and the step: never on the arm, the
    number of workers, or where a run was interrupted. An incomplete last batch is left out.

    Args:
        edges: None leaves out what only the structural losses need.
        edge_shift_px: edge maps are moved by up to so many pixels each way, drawn anew for every
            pair and batch; without it an edge encoder learns its training maps by heart.
        regions_per_image: crops of edge regions of each pair, of ``crop_px`` pixels a side.
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
        seed: int,
        rank: int = 0,
        workers: int = 1,
    ) -> None:
        self.store, self.edges, self.seed = store, edges, seed
        self.rows = store.rows("train")
        self.batch_size = min(batch_size, len(self.rows) - len(self.rows) % workers)
        self.chunks_per_caption = chunks_per_caption
        self.edge_shift_px = edge_shift_px
        self.regions_per_image, self.crop_px = regions_per_image, crop_px
        share = self.batch_size // workers
        self.mine = slice(rank * share, (rank + 1) * share)

    @property
    def steps_per_epoch(self) -> int:
        return len(self.rows) // self.batch_size

    def epoch(self, epoch: int) -> list[NDArray[np.int64]]:
        """The pairs of each global batch of an epoch, ``[batch_size]`` each."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.rows)
        return np.split(order[: self.steps_per_epoch * self.batch_size], self.steps_per_epoch)

    def batch(self, pairs: NDArray[np.int64], epoch: int, step: int) -> Batch:
        """This worker's part of a global batch."""
        store, rng = self.store, np.random.default_rng([self.seed, epoch, step])
        counts = np.diff(store.caption_offsets)[pairs]
        captions = store.caption_offsets[pairs] + (rng.random(len(pairs)) * counts).astype(np.int64)
        chunk_rows, chunk_mask = self._draw_chunks(captions, rng)
        most = self.edge_shift_px
        shifts = rng.integers(-most, most + 1, size=(len(pairs), 2))[self.mine]
        pairs, captions = pairs[self.mine], captions[self.mine]
        batch = Batch(
            image=torch.from_numpy(store.image[pairs]),
            caption=torch.from_numpy(store.caption[captions]),
            group_ids=torch.from_numpy(store.group_ids[pairs]),
        )
        if self.edges is not None:
            rows, mask = chunk_rows[self.mine], chunk_mask[self.mine]
            chunks = np.zeros((*rows.shape, *store.chunks.shape[1:]), store.chunks.dtype)
            chunks[mask] = store.chunks[rows[mask]]
            # A chunk that truncation cut away has no feature, or no token.
            mask &= chunks.any(axis=-1)
            maps = self.edges.maps(pairs)
            batch |= Batch(
                structure=torch.from_numpy(store.structure[captions]),
                chunks=torch.from_numpy(chunks),
                chunk_mask=torch.from_numpy(mask),
                edges=torch.from_numpy(shift_maps(maps, shifts)),
                has_structure=torch.from_numpy(self.edges.has_structure[pairs]),
            )
            if self.regions_per_image:
                crops, present = self.edges.crops(pairs, maps, self.regions_per_image, self.crop_px)
                batch |= Batch(
                    regions=torch.from_numpy(crops), region_mask=torch.from_numpy(present)
                )
        return batch

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
