"""Reranking: late interaction by its definition, and the order that follows from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from structxlip.config import Params
from structxlip.evaluation.embedding import Parts, Scorer, chunk_features, embed_parts
from structxlip.evaluation.reranking import Candidates, LocalFeatures
from structxlip.losses import RegionChunkAttentionLoss
from structxlip.models.build import build_model
from tests.store import Artifacts

IMAGES, TEXTS, DIM, PATCHES = 7, 11, 5, 4
TEMPERATURE = 0.1


def split(seed: int, blank: int | None = None) -> Parts:
    """A random split; the map of one image may be blank."""
    generator = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> torch.Tensor:
        return normalize(torch.randn(*shape, DIM, generator=generator), dim=-1)

    counts = torch.randint(1, 4, (TEXTS,), generator=generator).numpy()
    patches = unit(IMAGES, PATCHES)
    if blank is not None:
        patches[blank] = 0
    offsets = np.concatenate([[0], np.cumsum(counts)])
    owner = np.arange(TEXTS) % IMAGES
    local = LocalFeatures(unit(int(counts.sum())), offsets, patches, TEMPERATURE)
    images, texts = unit(IMAGES).numpy(), unit(TEXTS).numpy()
    return Parts(images, texts, owner, np.arange(IMAGES), unit(IMAGES).numpy(), local)


def late_interaction(parts: Parts) -> np.ndarray:
    """``[M, N]`` by the definition, chunk by chunk."""
    local = parts.local
    assert local is not None
    found = np.zeros((TEXTS, IMAGES), np.float32)
    for text in range(TEXTS):
        for image, patches in enumerate(local.patches):
            cosines = []
            for chunk in local.chunks[local.offsets[text] : local.offsets[text + 1]]:
                attended = ((patches @ chunk / TEMPERATURE).softmax(0)[:, None] * patches).sum(0)
                cosines.append(float(chunk @ normalize(attended, dim=0)))
            found[text, image] = np.mean(cosines)
    return found


@given(
    seed=st.integers(0, 50),
    top=st.integers(1, 12),
    beta=st.sampled_from([0.1, 1.0, 30.0]),
    alpha=st.sampled_from([0.0, 0.7]),
)
def test_the_first_answers_are_ordered_by_both_scores(
    seed: int, top: int, beta: float, alpha: float
) -> None:
    parts = split(seed)
    plain = parts.scored(Scorer(alpha))
    late, scores = late_interaction(parts), plain.texts @ plain.images.T
    assert parts.local is not None
    found = parts.local.candidates(plain.images, plain.texts, top)
    ways = {"text_to_image": (scores, late), "image_to_text": (scores.T, late.T)}
    for way, (base, wanted) in ways.items():
        count = min(top, base.shape[1])
        for query, (answers, values) in enumerate(zip(*found[way], strict=True)):
            first = np.argsort(-base[query])
            assert sorted(answers) == sorted(first[:count])
            np.testing.assert_allclose(values, wanted[query, answers], atol=1e-5)
            reranked = base[query].copy()
            reranked[answers] += found[way].bonus(beta)[query]
            by_both = answers[np.argsort(-(base + beta * wanted)[query, answers])]
            assert np.argsort(-reranked).tolist() == [*by_both, *first[count:]]


def test_all_answers_of_a_small_gallery_are_reranked() -> None:
    parts = split(3)
    found = parts.scored(Scorer(0.5, 1.0))
    plain = parts.scored(Scorer(0.5))
    wanted = plain.texts @ plain.images.T + late_interaction(parts)
    for text, scores in enumerate(wanted):
        assert np.argsort(-found.scores(text)).tolist() == np.argsort(-scores).tolist()
    right = wanted[np.arange(TEXTS), parts.text_to_image]
    ranks = (wanted > right[:, None]).sum(axis=1)
    assert found.ranks(strict=True).text_to_image.tolist() == ranks.tolist()
    first = [int(np.argmax(scores)) for scores in wanted.T]
    hits = np.array([parts.text_to_image[text] == image for image, text in enumerate(first)])
    assert ((found.ranks().image_to_text == 0) == hits).all()


def test_a_map_without_structure_says_nothing() -> None:
    parts = split(5, blank=2)
    assert parts.local is not None
    found = parts.local.candidates(parts.images, parts.texts)["text_to_image"]
    for answers, late in zip(*found, strict=True):
        assert late[answers == 2] == pytest.approx(late[answers != 2].mean())
    of_images = parts.local.candidates(parts.images, parts.texts)["image_to_text"]
    assert np.ptp(of_images.late[2]) == 0


def test_the_bonus_is_never_negative() -> None:
    late = np.array([[-0.5, 0.25, 0.0]], np.float32)
    bonus = Candidates(np.array([[4, 1, 2]]), late).bonus(2.0)
    np.testing.assert_allclose(bonus, [[0.0, 1.5, 1.0]])


def test_it_is_the_similarity_that_the_loss_trains(artifacts: Artifacts, params: Params) -> None:
    """The logits of the loss, for one chunk a caption and one caption an image."""
    store, edges = artifacts.store, artifacts.maps
    model = build_model(params.recipe_settings.model, store, seed=0, edge_branch="cnn").eval()
    parts = embed_parts(model, store, edges, "train", TEMPERATURE)
    local = parts.local
    assert local is not None
    usable = local.patches.flatten(1).any(dim=1)
    assert usable.any()
    assert not usable.all()
    first = [int(np.flatnonzero(parts.text_to_image == i)[0]) for i in range(len(parts.images))]
    chunks = local.chunks[local.offsets[first]][usable]
    patches = local.patches[usable]
    loss = RegionChunkAttentionLoss(TEMPERATURE, temperature=1.0)
    mask = torch.ones(len(chunks), 1, dtype=torch.bool)
    found = LocalFeatures(chunks, np.arange(len(chunks) + 1), patches, TEMPERATURE)
    candidates = found.candidates(parts.images[usable.numpy()], parts.images[usable.numpy()])
    late = np.empty((len(chunks), len(chunks)), np.float32)
    np.put_along_axis(late, *candidates["text_to_image"], axis=1)
    logits, target = torch.from_numpy(late), torch.arange(len(chunks))
    wanted = sum(torch.nn.functional.cross_entropy(one, target) for one in (logits, logits.T)) / 2
    torch.testing.assert_close(loss(chunks[:, None], mask, patches), wanted)


def test_a_caption_without_a_chunk_stands_for_itself(artifacts: Artifacts) -> None:
    store = artifacts.store
    store.chunks = store.chunks.copy()
    counts = np.diff(store.chunk_offsets)
    without, several = int(np.flatnonzero(counts == 0)[0]), int(np.flatnonzero(counts == 3)[0])
    first = store.chunk_offsets[several]
    store.chunks[first + 1] = 0  # beyond the tokens that the tower reads
    features, found = chunk_features(store, np.array([without, several]))
    assert found == [1, 2]
    np.testing.assert_array_equal(features[0], store.structure[without])
    np.testing.assert_array_equal(features[1:], store.chunks[[first, first + 2]])
