"""The composite loss is the weighted sum of its terms, and finds the losses that are added."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import structxlip.losses
from structxlip.losses import (
    CompositeLoss,
    ContrastiveLoss,
    CosineConsistencyLoss,
    Features,
    ProjectedL2ConsistencyLoss,
    RegionChunkAttentionLoss,
    RegionChunkLoss,
    SigmoidContrastiveLoss,
    weight_schedule,
)
from structxlip.losses.composite import SIDES, find_loss
from tests.losses.test_losses import random

# The kinds of the two recipes: patches of an edge CNN, and crops that the image tower reads.
KINDS: dict[str, dict[str, str]] = {
    "patches": {},
    "crops": {"region_chunk": "region_chunk", "edge_image": "cosine"},
}


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
        region_features=random(n, 2, 6, seed=6),
        region_mask=torch.ones(n, 2, dtype=torch.bool),
        has_structure=torch.tensor([True] * (n - 1) + [False]),
    )


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_composite_is_the_weighted_sum(kinds: dict[str, str]) -> None:
    loss = CompositeLoss(6, clip=2.0, edge_text=0.5, region_chunk=0.1, edge_image=0.05, kinds=kinds)
    terms = loss(features(), {"edge_text": 0.4, "edge_image": 0.0})
    torch.testing.assert_close(
        terms["loss"],
        2 * terms["clip_loss"] + 0.5 * 0.4 * terms["edge_text_loss"]
        + 0.1 * terms["region_chunk_loss"],
    )  # fmt: skip
    assert terms["edge_image_loss"] > 0


@pytest.mark.parametrize("groups", [None, [3, 3, 1, 1, 7]])
def test_every_term_is_its_loss_with_the_groups_and_temperatures(groups: list[int] | None) -> None:
    given = features()
    ids = None if groups is None else torch.tensor(groups)
    if ids is not None:
        given["group_ids"] = ids
    scale, usable = given["logit_scale"], given["has_structure"]
    image, edge = given["image_features"], given["edge_features"]
    chunks = given["chunk_features"], given["chunk_mask"]
    wanted = {
        "clip_loss": ContrastiveLoss()(image, given["text_features"], scale, group_ids=ids),
        "edge_text_loss": ContrastiveLoss()(
            edge, given["structure_features"], scale, valid=usable, group_ids=ids
        ),
    }
    patches, regions = given["patch_features"], given["region_features"]
    local: dict[str, dict[str, Tensor]] = {
        "patches": {
            "region_chunk_loss": RegionChunkAttentionLoss(0.2, 0.3)(
                *chunks, patches, usable[:, None].expand(5, 4), ids
            ),
            "edge_image_loss": ProjectedL2ConsistencyLoss(6)(image, edge, usable),
        },
        "crops": {
            "region_chunk_loss": RegionChunkLoss(0.3)(
                *chunks, regions, given["region_mask"] & usable[:, None], scale, ids
            ),
            "edge_image_loss": CosineConsistencyLoss()(image, edge, usable),
        },
    }
    for kind, terms in local.items():
        torch.manual_seed(0)
        loss = CompositeLoss(
            6,
            edge_text=1,
            region_chunk=1,
            edge_image=1,
            kinds=KINDS[kind],
            attention_temperature=0.2,
            temperature=0.3,
        )
        found = loss(given)
        for name, value in (wanted | terms).items():
            torch.testing.assert_close(found[name], value, msg=name)
    plain = CompositeLoss(6, edge_text=1, region_chunk=1)(features())
    if groups is not None:
        assert all(plain[name] > value for name, value in wanted.items())


@pytest.mark.parametrize("gather", [False, True])
@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_all_losses_gather_or_none_does(kinds: dict[str, str], gather: bool) -> None:
    weights = {"edge_text": 1.0, "region_chunk": 1.0, "edge_image": 1.0}
    loss = CompositeLoss(6, **weights, kinds=kinds, extra={"sigmoid": 1.0}, gather=gather)
    flags = [module.gather for module in loss.modules() if hasattr(module, "gather")]
    assert flags == [gather] * 5
    default = CompositeLoss(6, **weights, kinds=kinds)
    assert not any(module.gather for module in default.modules() if hasattr(module, "gather"))


def test_composite_leaves_samples_without_structure_out() -> None:
    for kinds in KINDS.values():
        weights = {"edge_text": 1.0, "region_chunk": 1.0, "edge_image": 1.0}
        loss = CompositeLoss(6, **weights, kinds=kinds)
        given, broken = features(), features()
        for name in ("edge_features", "patch_features", "region_features"):
            broken[name][-1] = float("nan")  # type: ignore[literal-required]
        torch.testing.assert_close(loss(broken), loss(given))


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


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("loss", ["edge_text", "region_chunk", "edge_image"])
@pytest.mark.parametrize("side", SIDES)
def test_no_gradient_goes_through_a_side_that_is_detached(
    kinds: dict[str, str], loss: str, side: str
) -> None:
    given = features()
    for value in given.values():
        if isinstance(value, Tensor) and value.is_floating_point():
            value.requires_grad_()
    sides = {"edge_text": {"edge", "text"}, "region_chunk": {"edge", "text"}}
    has_side = side in sides.get(loss, {"image", "edge"})

    def gradients(**settings: object) -> set[str]:
        term = CompositeLoss(6, **{loss: 1.0}, kinds=kinds, **settings)(given)[f"{loss}_loss"]  # type: ignore[arg-type]
        names = [feature for names in SIDES.values() for feature in names]
        found = torch.autograd.grad(term, [given[n] for n in names], allow_unused=True)  # type: ignore[literal-required]
        return {name for name, gradient in zip(names, found, strict=True) if gradient is not None}

    free = gradients()
    assert bool(free & set(SIDES[side])) == has_side
    assert gradients(detach={loss: [side]}) == free - set(SIDES[side])
    assert gradients(detach={"clip": [side]}) == free


def test_another_kind_is_another_file() -> None:
    given = features()
    loss = CompositeLoss(6, clip=0, edge_text=1, kinds={"edge_text": "sigmoid"})
    wanted = SigmoidContrastiveLoss()(
        given["edge_features"],
        given["structure_features"],
        given["logit_scale"],
        valid=given["has_structure"],
    )
    torch.testing.assert_close(loss(given)["edge_text_loss"], wanted)
    with pytest.raises(ValueError, match=r"there is no loss hinge: add structxlip/losses/hinge"):
        CompositeLoss(6, edge_text=1, kinds={"edge_text": "hinge"})


def test_features_that_a_kind_needs_are_named() -> None:
    given = features()
    del given["patch_features"]
    message = "the loss region_chunk needs patch_features; the model has none"
    with pytest.raises(ValueError, match=message):
        CompositeLoss(6, region_chunk=1)(given)


def test_temperatures_that_are_not_said_are_those_of_the_loss() -> None:
    alone, inside = (
        RegionChunkAttentionLoss(),
        CompositeLoss(6, region_chunk=1).terms["region_chunk"],
    )
    assert isinstance(inside, RegionChunkAttentionLoss)
    assert inside.attention_temperature == alone.attention_temperature == 0.1
    assert inside.temperature == alone.temperature == 0.07
    given = CompositeLoss(6, region_chunk=1, attention_temperature=0.2, temperature=0.3)
    other = given.terms["region_chunk"]
    assert isinstance(other, RegionChunkAttentionLoss)
    assert (other.attention_temperature, other.temperature) == (0.2, 0.3)


def test_weight_schedule() -> None:
    shape = {"warm": 2, "decay_start": 4, "decay_end": 8, "floor": 0.2}
    values = [weight_schedule(0.5, epoch, **shape) for epoch in (0, 1, 2, 4, 6, 8, 20)]
    assert values == pytest.approx([0, 0.25, 0.5, 0.5, 0.5 * 0.6, 0.1, 0.1])
    assert weight_schedule(0.5, 0) == weight_schedule(0.5, 100) == 0.5
    assert weight_schedule(0.5, 9, decay_start=1, decay_end=5) == 0.5
    assert weight_schedule(0.5, 9, decay_start=1) == weight_schedule(0.5, 9, decay_end=5) == 0.5


def test_a_composite_without_any_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one weight must not be 0"):
        CompositeLoss(4, clip=0.0)


# --- Losses that are added as a file

ADDED = """
import torch
from torch import Tensor, nn


class SpreadLoss(nn.Module):
    def __init__(self, gather: bool = False) -> None:
        super().__init__()
        self.gather = gather

    def forward(self, edge_features: Tensor, has_structure: Tensor) -> Tensor:
        return edge_features[has_structure].square().mean()
"""


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose files are losses as well."""
    monkeypatch.setattr(structxlip.losses, "__path__", [*structxlip.losses.__path__, str(tmp_path)])
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("structxlip.losses.added")]:
        del sys.modules[name]


def test_an_added_loss_gets_the_features_that_its_arguments_name(added: Path) -> None:
    (added / "added_spread.py").write_text(ADDED)
    given = features()
    loss = CompositeLoss(6, extra={"added_spread": 0.5}, gather=False)
    terms = loss(given)
    expected = given["edge_features"][:-1].square().mean()
    torch.testing.assert_close(terms["added_spread_loss"], expected)
    torch.testing.assert_close(terms["loss"], terms["clip_loss"] + 0.5 * expected)
    torch.testing.assert_close(
        loss(given, {"added_spread": 0.0})["loss"], terms["clip_loss"], rtol=0, atol=0
    )
    del given["edge_features"]
    with pytest.raises(ValueError, match="the loss added_spread needs edge_features; the model"):
        loss(given)


def test_an_added_loss_that_is_none_is_one_sentence(added: Path) -> None:
    with pytest.raises(ValueError, match=r"no loss nowhere: add structxlip/losses/nowhere\.py"):
        find_loss("nowhere")
    (added / "added_nothing.py").write_text("X = 1\n")
    with pytest.raises(ValueError, match=r"added_nothing\.py must define one nn\.Module, not 0"):
        find_loss("added_nothing")
    (added / "added_broken.py").write_text("import no_such_module\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        find_loss("added_broken")
