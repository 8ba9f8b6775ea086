"""Batches depend on seed, epoch and step, and on nothing else."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from structxlip.training.batches import TrainingBatches, shift_maps
from tests.store import Artifacts


def draw(artifacts: Artifacts, *, edges: bool = True, epoch: int = 3, **changes: int) -> list[dict]:
    options = {"batch_size": 12, "chunks_per_caption": 2, "edge_shift_px": 3, "seed": 5} | changes
    batches = TrainingBatches(artifacts.store, artifacts.maps if edges else None, **options)
    return [batches.batch(p, epoch, step) for step, p in enumerate(batches.epoch(epoch))]


def test_workers_share_the_batch_of_one(artifacts: Artifacts) -> None:
    whole = draw(artifacts)
    halves = [draw(artifacts, rank=rank, workers=2) for rank in range(2)]
    assert len(whole) == 2
    for step, batch in enumerate(whole):
        for name, value in batch.items():
            joined = torch.cat([half[step][name] for half in halves])
            torch.testing.assert_close(joined, value)


def test_arms_see_the_same_pairs_and_captions(artifacts: Artifacts) -> None:
    for plain, structural in zip(draw(artifacts, edges=False), draw(artifacts), strict=True):
        assert set(plain) == {"image", "caption", "group_ids"}
        for name, value in plain.items():
            torch.testing.assert_close(structural[name], value)


def test_an_epoch_is_a_permutation_of_the_training_split(artifacts: Artifacts) -> None:
    batches = TrainingBatches(artifacts.store, None, batch_size=7, chunks_per_caption=1, seed=0)
    first, second = (np.concatenate(batches.epoch(epoch)) for epoch in range(2))
    assert sorted(first) == sorted(second) == batches.rows.tolist()
    assert first.tolist() != second.tolist()


def test_chunks_are_those_of_the_caption(artifacts: Artifacts) -> None:
    store = artifacts.store
    for batch in draw(artifacts, chunks_per_caption=3):
        captions = [
            int((store.caption == row.numpy()).all(axis=1).nonzero()[0][0])
            for row in batch["caption"]
        ]
        for caption, chunks, mask in zip(
            captions, batch["chunks"].numpy(), batch["chunk_mask"].numpy(), strict=True
        ):
            start, end = store.chunk_offsets[caption : caption + 2]
            assert mask.sum() == min(end - start, 3)
            own = {row.tobytes() for row in store.chunks[start:end]}
            drawn = [row.tobytes() for row in chunks[mask]]
            assert len(set(drawn)) == len(drawn)
            assert set(drawn) <= own


@given(down=st.integers(-6, 6), right=st.integers(-6, 6), seed=st.integers(0, 9), size=st.just(6))
def test_shifting_moves_every_pixel(down: int, right: int, seed: int, size: int) -> None:
    maps = np.random.default_rng(seed).random((1, 1, size, size), np.float32)
    moved = shift_maps(maps, np.array([[down, right]]))
    for y in range(size):
        for x in range(size):
            inside = 0 <= y - down < size and 0 <= x - right < size
            expected = maps[0, 0, y - down, x - right] if inside else 0.0
            assert moved[0, 0, y, x] == expected


def test_maps_move_anew_in_every_epoch(artifacts: Artifacts) -> None:
    batches = TrainingBatches(
        artifacts.store, artifacts.maps, batch_size=4, chunks_per_caption=1, edge_shift_px=3, seed=1
    )
    pairs = batches.rows[:4]
    first, again, later = (batches.batch(pairs, epoch, 0)["edges"] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
