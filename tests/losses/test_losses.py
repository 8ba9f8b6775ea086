"""Each loss equals its definition written as loops, and is refused what does not fit."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from structxlip.losses import (
    CompositeLoss,
    ContrastiveLoss,
    Features,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    region_chunk,
    weight_schedule,
)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def naive_contrastive(
    images: Tensor, texts: Tensor, scale: float, valid: list[bool], groups: list[int]
) -> float:
    rows = [i for i, usable in enumerate(valid) if usable]
    total = 0.0
    for queries, keys in ((images, texts), (texts, images)):
        for i in rows:
            weights = [
                math.exp(scale * float(cosine_similarity(queries[i], keys[j], 0))) for j in rows
            ]
            positive = sum(w for w, j in zip(weights, rows, strict=True) if groups[i] == groups[j])
            total -= math.log(positive / sum(weights))
    return total / (2 * len(rows)) if rows else 0.0


@given(
    n=st.integers(1, 9),
    seed=st.integers(0, 99),
    scale=st.floats(0.5, 20),
    data=st.data(),
)
@settings(deadline=None, max_examples=40)
def test_contrastive_is_its_definition(
    n: int, seed: int, scale: float, data: st.DataObject
) -> None:
    valid = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    images, texts = random(n, 5, seed=seed), random(n, 5, seed=seed + 100)
    loss = ContrastiveLoss()(images, texts, scale, torch.tensor(valid), torch.tensor(groups))
    assert float(loss) == pytest.approx(
        naive_contrastive(images, texts, scale, valid, groups), abs=1e-5
    )


def test_contrastive_without_groups_is_cross_entropy() -> None:
    images, texts = random(6, 4), random(6, 4, seed=1)
    logits = 7 * normalize(images, dim=-1) @ normalize(texts, dim=-1).T
    target = torch.arange(6)
    entropy = torch.nn.functional.cross_entropy
    expected = (entropy(logits, target) + entropy(logits.T, target)) / 2
    torch.testing.assert_close(ContrastiveLoss()(images, texts, 7), expected)


def naive_region_chunk(
    chunks: Tensor,
    chunk_mask: Tensor,
    patches: Tensor,
    patch_mask: Tensor,
    tau_a: float,
    tau: float,
) -> float:
    rows = [i for i in range(len(chunks)) if chunk_mask[i].any() and patch_mask[i].any()]
    scores = torch.zeros(len(rows), len(rows))
    for a, i in enumerate(rows):
        for b, k in enumerate(rows):
            keys = normalize(patches[k][patch_mask[k]], dim=-1)
            cosines = []
            for chunk in normalize(chunks[i][chunk_mask[i]], dim=-1):
                attended = ((keys @ chunk / tau_a).softmax(0)[:, None] * keys).sum(0)
                cosines.append(cosine_similarity(chunk, attended, 0))
            scores[a, b] = torch.stack(cosines).mean() / tau
    if not rows:
        return 0.0
    forth, back = scores.log_softmax(1), scores.T.log_softmax(1)
    return float(-(forth.diag().mean() + back.diag().mean()) / 2)


@given(
    n=st.integers(1, 6),
    chunks=st.integers(1, 4),
    patches=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_region_chunk_is_its_definition(n: int, chunks: int, patches: int, seed: int) -> None:
    c, p = random(n, chunks, 6, seed=seed), random(n, patches, 6, seed=seed + 1)
    chunk_mask = random(n, chunks, seed=seed + 2) > 0
    patch_mask = random(n, patches, seed=seed + 3) > -0.5
    # What stands outside of the masks must not matter, not even as NaN.
    c[~chunk_mask], p[~patch_mask] = float("nan"), float("nan")
    loss = RegionChunkAttentionLoss(0.2, 0.1)(c, chunk_mask, p, patch_mask)
    expected = naive_region_chunk(c, chunk_mask, p, patch_mask, 0.2, 0.1)
    assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_region_chunk_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (random(7, 3, 5), random(7, 3, seed=2) > -1, random(7, 4, 5, seed=1))
    whole = RegionChunkAttentionLoss()(*arguments)
    monkeypatch.setattr(region_chunk, "BLOCK_ELEMENTS", 1)
    torch.testing.assert_close(RegionChunkAttentionLoss()(*arguments), whole)


def test_projected_l2_is_its_definition() -> None:
    loss = ProjectedL2ConsistencyLoss(4)
    torch.nn.init.normal_(loss.projection.weight, generator=torch.Generator().manual_seed(0))
    images, edges = random(5, 4), random(5, 4, seed=1)
    valid = torch.tensor([True, False, True, True, False])
    expected = 0.0
    for v, e, usable in zip(images, edges, valid, strict=True):
        projected = normalize(loss.projection.weight.detach() @ normalize(v, dim=0), dim=0)
        expected += float(usable) * float(((normalize(e, dim=0) - projected) ** 2).sum()) / 3
    assert float(loss(images, edges, valid)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", ["contrastive", "region_chunk", "consistency"])
def test_gradients(name: str) -> None:
    double = torch.float64
    first = random(4, 3, dtype=double).requires_grad_()
    second = random(4, 3, seed=1, dtype=double).requires_grad_()
    valid = torch.tensor([True, True, False, True])
    groups = torch.tensor([0, 1, 2, 0])
    consistency = ProjectedL2ConsistencyLoss(3).double()
    functions = {
        "contrastive": lambda a, b: ContrastiveLoss()(a, b, 3.0, valid, groups),
        "region_chunk": lambda a, b: RegionChunkAttentionLoss()(
            a.reshape(2, 2, 3), torch.tensor([[True, False], [True, True]]), b.reshape(2, 2, 3)
        ),
        "consistency": lambda a, b: consistency(a, b, valid),
    }
    assert torch.autograd.gradcheck(functions[name], (first, second))


@pytest.mark.parametrize("name", ["contrastive", "region_chunk", "consistency"])
def test_nothing_valid_is_zero_and_back_propagates(name: str) -> None:
    first, second = random(3, 4).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    none = torch.zeros(3, dtype=torch.bool)
    if name == "contrastive":
        loss = ContrastiveLoss()(first, second, 10.0, none)
    elif name == "consistency":
        loss = ProjectedL2ConsistencyLoss(4)(first, second, none)
    else:
        loss = RegionChunkAttentionLoss()(first[:, None], none[:, None], second[:, None])
    loss.backward()
    assert float(loss) == 0
    assert first.grad is not None
    assert torch.equal(first.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_does_not_overflow(dtype: torch.dtype) -> None:
    features = random(32, 16, dtype=torch.float32).to(dtype) * 100
    assert torch.isfinite(ContrastiveLoss()(features, features, torch.tensor(100.0)))
    mask = torch.ones(32, 1, dtype=torch.bool)
    loss = RegionChunkAttentionLoss()(features[:, None], mask, features[:, None])
    assert torch.isfinite(loss)


def features(n: int = 5) -> Features:
    return Features(
        image_features=random(n, 6),
        text_features=random(n, 6, seed=1),
        logit_scale=torch.tensor(10.0, requires_grad=True),
        edge_features=random(n, 6, seed=2),
        structure_features=random(n, 6, seed=3),
        patch_features=random(n, 4, 6, seed=4),
        chunk_features=random(n, 3, 6, seed=5),
        chunk_mask=torch.ones(n, 3, dtype=torch.bool),
        has_structure=torch.tensor([True] * (n - 1) + [False]),
    )


def test_composite_is_the_weighted_sum() -> None:
    loss = CompositeLoss(6, edge_text=0.5, region_chunk=0.1, edge_image=0.05)
    terms = loss(features(), weight_factor=0.4)
    structural = (
        0.5 * terms["edge_text_loss"] + 0.1 * terms["region_chunk_loss"]
        + 0.05 * terms["edge_image_loss"]
    )  # fmt: skip
    torch.testing.assert_close(terms["loss"], terms["clip_loss"] + 0.4 * structural)


def test_composite_without_weights_is_the_clip_loss() -> None:
    given = features()
    terms = CompositeLoss(6)(given)
    clip = ContrastiveLoss()(given["image_features"], given["text_features"], 10.0)
    assert set(terms) == {"clip_loss", "loss"}
    torch.testing.assert_close(terms["loss"], clip)
    assert not list(CompositeLoss(6).parameters())


def test_edge_text_leaves_the_logit_scale_alone() -> None:
    given = features()
    CompositeLoss(6, edge_text=1.0)(given)["edge_text_loss"].requires_grad_()
    terms = CompositeLoss(6, edge_text=1.0)(given)
    scale = given["logit_scale"]
    (with_edges,) = torch.autograd.grad(terms["loss"], scale)
    (alone,) = torch.autograd.grad(CompositeLoss(6)(given)["loss"], scale)
    torch.testing.assert_close(with_edges, alone)


def test_weight_schedule() -> None:
    shape = {"warm": 2, "decay_start": 4, "decay_end": 8, "floor": 0.2}
    values = [weight_schedule(0.5, epoch, **shape) for epoch in (0, 1, 2, 4, 6, 8, 20)]
    assert values == pytest.approx([0, 0.25, 0.5, 0.5, 0.5 * 0.6, 0.1, 0.1])
    assert weight_schedule(0.5, 100) == 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ContrastiveLoss()(random(3, 4), random(2, 4), 1.0), r"must both be \[N, D\]"),
        (lambda: ContrastiveLoss()(random(3, 4), random(3, 4), 1.0, torch.ones(3)), "valid must"),
        (
            lambda: ContrastiveLoss()(random(3, 4), random(3, 4), 1.0, None, torch.ones(3)),
            "group_ids must be integer",
        ),
        (lambda: RegionChunkAttentionLoss(0.0), "temperatures must be above 0"),
        (
            lambda: RegionChunkAttentionLoss()(random(2, 1, 3), torch.ones(2, 1), random(2, 1, 3)),
            "chunk_mask must be boolean",
        ),
        (
            lambda: RegionChunkAttentionLoss()(
                random(2, 1, 3), torch.ones(2, 1, dtype=torch.bool), random(3, 1, 3)
            ),
            "must share N and D",
        ),
    ],
)
def test_refused(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
