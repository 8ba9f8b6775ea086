"""Validation: the recall of the protocol, whoever computes which part of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from structxlip.config import Params
from structxlip.errors import UserError
from structxlip.evaluation.embedding import embed_split
from structxlip.evaluation.retrieval import retrieval_ranks
from structxlip.training import validation
from structxlip.training.assembly import assemble
from structxlip.training.parallel import World
from structxlip.training.validation import is_hit, validation_recall
from tests.store import Artifacts


class Blocks(World):
    """Another worker's turn: only what it would embed itself is made, and kept."""

    def gather(self, tensor: Tensor) -> list[Tensor]:
        return [tensor] * self.size


@pytest.mark.parametrize("block", [1, 3, 256])
def test_the_recall_is_that_of_the_protocol(
    artifacts: Artifacts, params: Params, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    model, store = assemble(artifacts.run(params)).model, artifacts.store
    store.splits[:] = "val"  # 40 images, with two of one caption
    expected = embed_split(model, store, None, "val", 0.0).ranks().recall((1,))
    monkeypatch.setattr(validation, "BLOCK", block)
    found = validation_recall(model, store)
    assert found == {f"val/{name}": pytest.approx(value) for name, value in expected.items()}


def test_a_sample_is_validated_on_its_own(artifacts: Artifacts, params: Params) -> None:
    """As if the split held nothing else; it is the same one each time, and in a larger one."""
    model, store = assemble(artifacts.run(params)).model, artifacts.store
    store.splits[:] = "val"
    rows = store.rows("val")
    few, more = store.sample(rows, 9), store.sample(rows, 20)
    assert len(few) == 9
    assert set(few) < set(more) < set(rows)
    assert (np.diff(few) > 0).all()
    found = validation_recall(model, store, images=9)
    store.splits[:] = "train"
    store.splits[few] = "val"
    assert found == validation_recall(model, store)


def test_workers_embed_every_row_once_but_for_the_last_turn(
    artifacts: Artifacts, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them call the model equally often: the layers of a sharded one wait for each other."""
    model, store = assemble(artifacts.run(params)).model, artifacts.store
    monkeypatch.setattr(validation, "BLOCK", 1)
    embedded: list[list[int]] = []
    whole = model.embed_images

    def embed(images: Tensor, *rest: object) -> Tensor:
        made = [int((store.image[i] == images[0].numpy()).all()) for i in store.rows("val")]
        embedded[-1].append(made.index(1))
        return whole(images, *rest)

    monkeypatch.setattr(model, "embed_images", embed)
    for rank in range(3):
        embedded.append([])
        validation_recall(model, store, Blocks(rank, 3))
    assert embedded == [[0, 3], [1, 3], [2, 3]]


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 5))
def test_a_hit_is_a_rank_of_0(seed: int, images: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(images), rng.integers(0, images, more)])
    # Small whole numbers: many scores are equal.
    first, second = (rng.integers(0, 2, (n, 3)).astype(np.float32) for n in (images, images + more))
    ranks = retrieval_ranks(first, second, owner)
    right = torch.from_numpy(np.arange(images)[:, None] == owner)
    scores = torch.from_numpy(first @ second.T)
    assert is_hit(scores, right).tolist() == (ranks.image_to_text == 0).tolist()
    assert is_hit(scores.T, right.T).tolist() == (ranks.text_to_image == 0).tolist()


def test_an_empty_split_is_one_sentence(artifacts: Artifacts, params: Params) -> None:
    model, store = assemble(artifacts.run(params)).model, artifacts.store
    store.splits[:] = "train"
    with pytest.raises(UserError, match="the split 'val' has no pairs"):
        validation_recall(model, store)
