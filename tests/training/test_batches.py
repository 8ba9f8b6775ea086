"""Batches depend on seed, epoch and step, and on nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from structxlip.config import Edges, Params
from structxlip.cues import ConfiguredCue, branch_input
from structxlip.training.augmentation import Augmentation
from structxlip.training.batches import TrainingBatches, shift_cells, shift_maps, token_lengths
from tests.store import Artifacts, write_artifacts


def draw(artifacts: Artifacts, *, edges: bool = True, epoch: int = 3, **changes: int) -> list[dict]:
    options = {"batch_size": 12, "chunks_per_caption": 2, "edge_shift_px": 3, "seed": 5} | changes
    batches = TrainingBatches(artifacts.store, artifacts.maps if edges else None, **options)
    return [batches.batch(rows, epoch, step) for step, rows in enumerate(batches.epoch(epoch))]


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
    first, second = (
        np.concatenate([rows.pairs for rows in batches.epoch(epoch)]) for epoch in range(2)
    )
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


@given(
    down=st.floats(-2.5, 2.5), right=st.floats(-2.5, 2.5), seed=st.integers(0, 9), side=st.just(5)
)
def test_cells_move_by_parts_of_a_cell(down: float, right: float, seed: int, side: int) -> None:
    cells = np.random.default_rng(seed).random((2, 3, side, side), np.float32)
    moved = shift_cells(cells, np.array([[down, right], [0.0, 0.0]]))
    np.testing.assert_array_equal(moved[1], cells[1])

    def between(values: NDArray[np.float32], place: float) -> NDArray[np.float32]:
        place = min(max(place, 0.0), side - 1)
        before, after = values[math.floor(place)], values[math.ceil(place)]
        return before + (place - math.floor(place)) * (after - before)

    for y in range(side):
        for x in range(side):
            row = between(cells[0].transpose(1, 2, 0), y - down)
            np.testing.assert_allclose(moved[0, :, y, x], between(row, x - right), atol=1e-5)


def test_maps_move_anew_in_every_epoch(artifacts: Artifacts) -> None:
    batches = TrainingBatches(
        artifacts.store, artifacts.maps, batch_size=4, chunks_per_caption=1, edge_shift_px=3, seed=1
    )
    rows = batches.epoch(0)[0]
    first, again, later = (batches.batch(rows, epoch, 0)["edges"] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_batches_made_ahead_are_those_made_when_asked(artifacts: Artifacts) -> None:
    batches = TrainingBatches(
        artifacts.store, artifacts.maps, batch_size=4, chunks_per_caption=2, seed=1
    )
    rows = batches.epoch(2)
    made = list(batches.prefetch(rows, 2, 3, threads=2))
    assert len(made) == len(rows) - 3
    for step, batch in enumerate(made, 3):
        torch.testing.assert_close(batch, batches.batch(rows[step], 2, step), rtol=0, atol=0)


def test_captions_of_like_length_are_read_together(raw_artifacts: Artifacts) -> None:
    store = raw_artifacts.store
    lengths = token_lengths(store.caption)
    assert lengths.tolist() == [
        max(i + 1 for i, token in enumerate(row) if token) for row in store.caption.tolist()
    ]
    plain, sorted_ = (
        TrainingBatches(
            store, None, batch_size=4, chunks_per_caption=1, length_window=window, seed=0
        )
        for window in (1, 7)
    )
    padding = {}
    for batches in (plain, sorted_):
        for epoch in range(3):
            rows = batches.epoch(epoch)
            drawn = np.concatenate([rows.pairs for rows in rows])
            assert sorted(drawn) == store.rows("train").tolist()
            for draw in rows:
                own = store.caption_offsets[draw.pairs]
                assert (own <= draw.captions).all()
                assert (draw.captions < store.caption_offsets[draw.pairs + 1]).all()
                wasted = lengths[draw.captions].max() - lengths[draw.captions]
                padding[batches] = padding.get(batches, 0) + wasted.sum()
    assert padding[sorted_] < padding[plain] / 3


def test_a_picture_is_mirrored_with_its_edges_and_never_against_its_caption() -> None:
    rng = np.random.default_rng(0)
    names_side = np.arange(64) % 2 == 0
    drawn = Augmentation.draw(rng, names_side)
    assert not drawn.mirrored[names_side].any()
    assert 8 < drawn.mirrored.sum() < 24
    images = rng.integers(0, 256, (64, 5, 5, 3)).astype(np.uint8)
    maps = (images[..., :1].transpose(0, 3, 1, 2) > 128).astype(np.float32)
    seen, edges = drawn.images(images), drawn.maps(maps)
    for i in range(64):
        image = images[i, :, ::-1] if drawn.mirrored[i] else images[i]
        lit = np.clip(image * drawn.brightness[i], 0, 255)
        assert np.abs(seen[i] - lit).max() <= 0.5
        expected = maps[i, :, :, ::-1] if drawn.mirrored[i] else maps[i]
        assert np.array_equal(edges[i], expected)
    assert np.array_equal(drawn[3:9].images(images[3:9]), seen[3:9])


def test_a_mirrored_picture_has_mirrored_cells() -> None:
    """Its orientations change places too."""
    rough = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    image = cv2.resize(rough, (128, 128), interpolation=cv2.INTER_CUBIC)
    cue = ConfiguredCue(Edges(cue="orientations"))
    mirror = Augmentation(np.array([True]), np.ones(1, np.float32))
    cells, wanted = (branch_input(cue(rgb))[None] for rgb in (image, image[:, ::-1].copy()))
    np.testing.assert_allclose(mirror.maps(cells), wanted, atol=1 / 255)
    binary = (np.random.default_rng(0).random((1, 1, 8, 8)) < 0.2).astype(np.float32)
    np.testing.assert_array_equal(mirror.maps(binary), binary[..., ::-1])


def test_batches_take_pictures_or_their_copies_in_other_colours_alike_in_both_arms(
    tmp_path: Path, params: Params
) -> None:
    model = params.recipe_settings.model.model_copy(update={"colour_copies": 2})
    found = write_artifacts(tmp_path, model)
    store = found.store
    seen = set()
    for epoch in range(3):
        plain, structural = (draw(found, edges=edges, epoch=epoch) for edges in (False, True))
        halves = [draw(found, epoch=epoch, rank=rank, workers=2) for rank in range(2)]
        batches = TrainingBatches(store, None, batch_size=12, chunks_per_caption=2, seed=5)
        for step, rows in enumerate(batches.epoch(epoch)):
            images = plain[step]["image"]
            torch.testing.assert_close(images, structural[step]["image"])
            torch.testing.assert_close(images, torch.cat([half[step]["image"] for half in halves]))
            for pair, image in zip(rows.pairs, images.numpy(), strict=True):
                forms = [store.image[pair], *store.copies[pair]]  # the training pairs come first
                seen.add(next(i for i, form in enumerate(forms) if (form == image).all()))
    assert seen == {0, 1, 2}
