"""Each loss equals its definition written as loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cosine_similarity, normalize

from structxlip.losses import (
    ContrastiveLoss,
    CosineConsistencyLoss,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
    contrastive,
    region_chunk_attention,
    sigmoid,
)
from structxlip.losses.composite import find_loss


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


def naive_sigmoid(
    images: Tensor, texts: Tensor, scale: float, bias: float, valid: list[bool], groups: list[int]
) -> float:
    rows = [i for i, usable in enumerate(valid) if usable]
    total = 0.0
    for i in rows:
        for j in rows:
            logit = scale * float(cosine_similarity(images[i], texts[j], 0)) + bias
            sign = 1 if groups[i] == groups[j] else -1
            total += math.log1p(math.exp(-sign * logit))
    return total / len(rows) if rows else 0.0


@given(n=st.integers(1, 9), seed=st.integers(0, 99), data=st.data())
@settings(deadline=None, max_examples=30)
def test_sigmoid_is_its_definition(n: int, seed: int, data: st.DataObject) -> None:
    valid = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    groups = data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    images, texts = random(n, 5, seed=seed), random(n, 5, seed=seed + 100)
    loss = SigmoidContrastiveLoss(logit_bias=-2.0)
    found = loss(images, texts, 6.0, torch.tensor(valid), torch.tensor(groups))
    expected = naive_sigmoid(images, texts, 6.0, -2.0, valid, groups)
    assert float(found) == pytest.approx(expected, abs=1e-5)


def naive_region_chunk_attention(
    chunks: Tensor,
    chunk_mask: Tensor,
    patches: Tensor,
    patch_mask: Tensor,
    groups: list[int],
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
    costs = [
        -math.log(sum(float(p) for p, k in zip(row, rows, strict=True) if groups[k] == groups[i]))
        for table in (scores, scores.T)
        for i, row in zip(rows, table.softmax(1), strict=True)
    ]
    return sum(costs) / len(costs) if costs else 0.0


@given(
    n=st.integers(1, 6),
    chunks=st.integers(1, 4),
    patches=st.integers(1, 5),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_region_chunk_attention_is_its_definition(
    n: int, chunks: int, patches: int, seed: int
) -> None:
    c, p = random(n, chunks, 6, seed=seed), random(n, patches, 6, seed=seed + 1)
    chunk_mask = random(n, chunks, seed=seed + 2) > 0
    patch_mask = random(n, patches, seed=seed + 3) > -0.5
    # What stands outside of the masks must not matter, not even as NaN.
    c[~chunk_mask], p[~patch_mask] = float("nan"), float("nan")
    groups = torch.randint(0, 3, (n,), generator=torch.Generator().manual_seed(seed))
    loss = RegionChunkAttentionLoss(0.2, 0.1)(c, chunk_mask, p, patch_mask, groups)
    expected = naive_region_chunk_attention(c, chunk_mask, p, patch_mask, groups.tolist(), 0.2, 0.1)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def naive_region_chunk(
    chunks: Tensor,
    chunk_mask: Tensor,
    regions: Tensor,
    region_mask: Tensor,
    groups: list[int],
    scale: float,
) -> float:
    keys = [
        (i, region)
        for i in range(len(regions))
        for region in normalize(regions[i][region_mask[i]], dim=-1)
    ]
    captions = []
    for i in range(len(chunks)):
        if not (chunk_mask[i].any() and region_mask[i].any()):
            continue
        costs = []
        for chunk in normalize(chunks[i][chunk_mask[i]], dim=-1):
            weights = [math.exp(min(scale, 100) * float(chunk @ region)) for _, region in keys]
            own = sum(w for w, (k, _) in zip(weights, keys, strict=True) if groups[k] == groups[i])
            costs.append(-math.log(own / sum(weights)))
        captions.append(sum(costs) / len(costs))
    return sum(captions) / len(captions) if captions else 0.0


@given(
    n=st.integers(1, 6),
    chunks=st.integers(1, 4),
    regions=st.integers(1, 5),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.5, 3.0, 20.0]),
)
@settings(deadline=None, max_examples=40)
def test_region_chunk_is_its_definition(
    n: int, chunks: int, regions: int, seed: int, scale: float
) -> None:
    c, r = random(n, chunks, 6, seed=seed), random(n, regions, 6, seed=seed + 1)
    chunk_mask = random(n, chunks, seed=seed + 2) > 0
    region_mask = random(n, regions, seed=seed + 3) > 0
    c[~chunk_mask], r[~region_mask] = float("nan"), float("nan")
    groups = torch.randint(0, 3, (n,), generator=torch.Generator().manual_seed(seed))
    loss = RegionChunkLoss(0.5)(c, chunk_mask, r, region_mask, scale, groups)
    expected = naive_region_chunk(c, chunk_mask, r, region_mask, groups.tolist(), scale / 0.5)
    assert float(loss) == pytest.approx(expected, abs=1e-5)


def test_the_temperature_of_region_chunk_counts_at_the_pretrained_scale() -> None:
    """At a logit scale of 4.605 (100) the authors' clamp hides it; here it is the clamp's alone."""
    arguments = (random(4, 2, 6), random(4, 2, 6) > 9, random(4, 3, 6, seed=1), random(4, 3) > -9)
    mask = torch.ones(4, 2, dtype=torch.bool)
    arguments = (arguments[0], mask, arguments[2], arguments[3])
    at = [float(RegionChunkLoss(t)(*arguments, math.exp(3.5))) for t in (0.2, 0.33, 1.0, 2.0)]
    assert at[0] == pytest.approx(at[1])  # both beyond 100
    assert len({round(value, 4) for value in at}) == 3


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (contrastive, "contrastive"),
        (sigmoid, "sigmoid"),
        (contrastive, "region_chunk"),
        (region_chunk_attention, "region_chunk_attention"),
    ],
)
def test_blocks_change_nothing(
    module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def value_and_gradient() -> tuple[Tensor, Tensor]:
        chunks = random(7, 3, 5).requires_grad_()
        mask, parts = random(7, 3, seed=2) > -1, random(7, 4, 5, seed=1)
        if name == "region_chunk":
            loss = RegionChunkLoss()(chunks, mask, parts, random(7, 4, seed=3) > -1, 9.0)
        elif name == "region_chunk_attention":
            loss = RegionChunkAttentionLoss()(chunks, mask, parts)
        else:
            groups = torch.tensor([0, 1, 2, 0, 4, 5, 6])
            given = chunks[:, 0], parts[:, 0], 9.0, mask[:, 0], groups
            loss = find_loss(name)()(*given)
        return loss.detach(), torch.autograd.grad(loss, chunks)[0]

    whole = value_and_gradient()
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1)
    torch.testing.assert_close(value_and_gradient(), whole)


def test_cosine_consistency_is_its_definition() -> None:
    images, edges = random(5, 4), random(5, 4, seed=1)
    valid = torch.tensor([True, False, True, True, False])
    expected = sum(
        1 - float(cosine_similarity(v, e, 0))
        for v, e in zip(images[valid], edges[valid], strict=True)
    )
    loss = CosineConsistencyLoss()(images, edges, valid)
    assert float(loss) == pytest.approx(expected / 3, abs=1e-6)


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


def every_loss(
    first: Tensor, second: Tensor, valid: Tensor, scale: float = 3.0
) -> dict[str, Callable[[], Tensor]]:
    """Every loss of ``N`` pairs ``[N, D]``; those of parts take each row as one part."""
    dim, n = first.shape[-1], len(first)
    groups = torch.tensor([0, 1, 2, 0])[:n] if n <= 4 else None
    chunks, mask, parts = first[:, None], valid[:, None], second[:, None]
    l2 = ProjectedL2ConsistencyLoss(dim).to(first.dtype)
    sigmoid = SigmoidContrastiveLoss().to(first.dtype)
    return {
        "contrastive": lambda: ContrastiveLoss()(first, second, scale, valid, groups),
        "sigmoid": lambda: sigmoid(first, second, scale, valid, groups),
        "region_chunk_attention": lambda: RegionChunkAttentionLoss()(
            chunks, mask, parts, mask, groups
        ),
        "region_chunk": lambda: RegionChunkLoss()(chunks, mask, parts, mask, scale, groups),
        "projected_l2": lambda: l2(first, second, valid),
        "cosine": lambda: CosineConsistencyLoss()(first, second, valid),
    }


LOSSES = sorted(every_loss(random(2, 2), random(2, 2), torch.ones(2, dtype=torch.bool)))


@pytest.mark.parametrize("name", LOSSES)
def test_gradients(name: str) -> None:
    first = random(4, 3, dtype=torch.float64).requires_grad_()
    second = random(4, 3, seed=1, dtype=torch.float64).requires_grad_()
    valid = torch.tensor([True, True, False, True])
    assert torch.autograd.gradcheck(lambda a, b: every_loss(a, b, valid)[name](), (first, second))


@pytest.mark.parametrize("name", LOSSES)
def test_nothing_valid_is_zero_and_back_propagates(name: str) -> None:
    first, second = random(3, 4).requires_grad_(), random(3, 4, seed=1).requires_grad_()
    loss = every_loss(first, second, torch.zeros(3, dtype=torch.bool))[name]()
    loss.backward()
    assert float(loss) == 0
    assert first.grad is not None
    assert torch.equal(first.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_not_valid_may_be_anything(name: str) -> None:
    first, second = random(4, 3), random(4, 3, seed=1)
    valid = torch.tensor([True, False, True, True])
    clean = every_loss(first.clone(), second.clone(), valid)[name]()
    first[1], second[1] = float("nan"), float("inf")
    first.requires_grad_()
    loss = every_loss(first, second, valid)[name]()
    torch.testing.assert_close(loss, clean)
    assert torch.isfinite(torch.autograd.grad(loss, first)[0]).all()


@pytest.mark.parametrize("name", ["contrastive", "region_chunk", "region_chunk_attention"])
def test_the_same_pair_twice_is_no_mistake(name: str) -> None:
    """A model that finds its partner beside the copy has nothing to learn."""
    pair = torch.eye(3)[[0, 1, 2, 0]]
    loss = every_loss(pair, pair, torch.ones(4, dtype=torch.bool), scale=1000.0)[name]()
    assert float(loss) == pytest.approx(0, abs=1e-4)
