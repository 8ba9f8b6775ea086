"""The trained part: it saves and loads whole or not at all, and fuses its edge branch by alpha."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize

from structxlip.errors import UserError
from structxlip.models.build import load_model
from structxlip.models.cells_encoder import CellsEncoder
from structxlip.models.heads import HeadsConfig, HeadsOnTowers
from structxlip.models.projection import ProjectionHead, TowerBranch
from structxlip.models.structxlip import Batch
from structxlip.models.weights import start_from

CONFIG = HeadsConfig(
    image_tower="packaged:a",
    text_tower="packaged:b",
    image_px=64,
    max_tokens=8,
    image_dim=5,
    text_dim=7,
    embed_dim=6,
    hidden_dim=9,
    dropout=0.1,
    aligned=False,
    edges="cnn",
)


@pytest.fixture
def model() -> HeadsOnTowers:
    torch.manual_seed(0)
    return HeadsOnTowers(CONFIG).eval()


def test_what_is_saved_is_loaded(model: HeadsOnTowers, tmp_path: Path) -> None:
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.config == CONFIG
    image, text = torch.randn(3, 5), torch.randn(2, 7)
    edges = (torch.rand(3, 1, 64, 64) < 0.1).float()
    torch.testing.assert_close(
        loaded.embed_images(image, edges, 0.3), model.embed_images(image, edges, 0.3)
    )
    torch.testing.assert_close(loaded.embed_texts(text), model.embed_texts(text))


def test_both_arms_start_from_the_weights_of_another_model(model: HeadsOnTowers) -> None:
    """With the edge branch where both have it, and without where one has none, or another."""

    def started(**changes: Any) -> dict[str, Tensor]:
        torch.manual_seed(1)
        new = HeadsOnTowers(replace(CONFIG, **changes))
        start_from(new, model)
        return new.state_dict()

    same, plain = started(), started(edges=None)
    other = started(edges="descriptor", edge_channels=8)
    of_start = model.state_dict()
    for found in (same, plain, other):
        for name in plain:
            torch.testing.assert_close(found[name], of_start[name], rtol=0, atol=0)
    torch.testing.assert_close(same, of_start, rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"the models differ in image_head"):
        start_from(HeadsOnTowers(replace(CONFIG, image_dim=6)), model)


def test_missing_and_unexpected_weights_are_named(model: HeadsOnTowers, tmp_path: Path) -> None:
    model.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["stray"] = weights.pop("text_head.mlp.0.bias")
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError) as refused:
        load_model(tmp_path)
    assert "text_head.mlp.0.bias" in str(refused.value)
    assert "stray" in str(refused.value)
    with pytest.raises(UserError, match="holds no StructXLIP model"):
        load_model(tmp_path / "nowhere")


def test_the_logit_scale_is_clamped_at_100_and_not_before(model: HeadsOnTowers) -> None:
    for value, expected in ((4.605, 4.605), (3.6, 3.6), (5.0, math.log(100))):
        torch.nn.init.constant_(model.logit_scale, value)
        model.clamp_logit_scale()
        assert float(model.logit_scale.detach()) == pytest.approx(expected)


def test_the_edge_branch_is_fused_by_alpha(model: HeadsOnTowers) -> None:
    image = torch.randn(2, 5)
    edges = torch.zeros(2, 1, 64, 64)
    edges[1, :, 10:20, 30] = 1
    plain = model.embed_images(image, None, 0.0)
    torch.testing.assert_close(plain, normalize(model.image_head(image), dim=-1))
    fused = model.embed_images(image, edges, 0.4)
    torch.testing.assert_close(fused[0], plain[0])  # a map without an edge says nothing
    embedding = normalize(model.edge_encoder(edges)[0], dim=-1)[1]
    torch.testing.assert_close(fused[1], normalize(plain[1] + 0.4 * embedding, dim=0))


def test_aligned_heads_start_as_the_zero_shot_model() -> None:
    config = replace(CONFIG, image_dim=6, text_dim=6, aligned=True, edges=False)
    model = HeadsOnTowers(config).eval()
    image, text = torch.randn(3, 6), torch.randn(3, 6)
    torch.testing.assert_close(model.embed_images(image, None, 0.0), normalize(image, dim=-1))
    torch.testing.assert_close(model.embed_texts(text), normalize(text, dim=-1))
    with pytest.raises(UserError, match=r"set model\.embed_dim to 5"):
        HeadsOnTowers(replace(CONFIG, aligned=True))


def gelu(values: Tensor) -> Tensor:
    return values * (1 + torch.erf(values / math.sqrt(2))) / 2


@pytest.mark.parametrize("residual", [False, True])
@torch.no_grad()
def test_a_head_is_its_definition(residual: bool) -> None:
    torch.manual_seed(0)
    head = ProjectionHead(5, 5, 9, 0.5, residual=residual).eval()
    assert bool(head.mlp[3].weight.any()) != residual  # it starts at the identity
    assert bool(head.mlp[3].bias.any()) != residual
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    features, mean, std = torch.randn(4, 5), torch.randn(5), torch.tensor([2.0, 1.0, 3.0, 0.5, 0.0])
    first, _, dropout, last = head.mlp

    def naive() -> Tensor:
        standard = (features - head.mean) / head.std
        projected = gelu(standard @ first.weight.T + first.bias) @ last.weight.T + last.bias
        norms = features.square().sum(dim=1, keepdim=True).sqrt()
        return features + norms * projected if residual else projected

    assert (head.mean.tolist(), head.std.tolist()) == ([0.0] * 5, [1.0] * 5)
    torch.testing.assert_close(head(features), naive())
    head.set_statistics(mean, std)
    assert torch.equal(head.mean, mean)
    assert head.std.tolist() == pytest.approx([2.0, 1.0, 3.0, 0.5, 1e-4])  # of a constant feature
    torch.testing.assert_close(head(features), naive())
    assert (dropout.p, first.out_features, last.out_features) == (0.5, 9, 5)
    assert {"mean", "std"} < set(head.state_dict())


@torch.no_grad()
def test_the_features_of_a_batch_are_those_of_its_parts(model: HeadsOnTowers) -> None:
    model.text_head.set_statistics(torch.randn(7), torch.rand(7) + 1)
    maps = (torch.rand(3, 1, 64, 64) < 0.1).float()
    batch = Batch(
        image=torch.randn(3, 5),
        caption=torch.randn(3, 7),
        structure=torch.randn(3, 7),
        chunks=torch.randn(3, 2, 7),
        chunk_mask=torch.rand(3, 2) < 0.5,
        edges=maps,
        has_structure=torch.tensor([True, False, True]),
        group_ids=torch.tensor([0, 1, 0]),
    )
    assert model.edge_encoder is not None
    edge_features, patches = model.edge_encoder(maps)
    expected = {
        "image_features": model.image_head(batch["image"]),
        "text_features": model.text_head(batch["caption"]),
        "structure_features": model.text_head(batch["structure"]),
        "chunk_features": model.text_head(batch["chunks"]),
        "chunk_mask": batch["chunk_mask"],
        "edge_features": edge_features,
        "patch_features": patches,
        "has_structure": batch["has_structure"],
        "group_ids": batch["group_ids"],
        "logit_scale": torch.tensor(1 / 0.07),
    }
    torch.testing.assert_close(dict(model(batch)), expected)
    torch.testing.assert_close(model.edge_features(maps), edge_features)
    assert expected["chunk_features"].shape == (3, 2, 6)


@torch.no_grad()
def test_a_model_without_an_edge_branch_has_no_features_of_edges() -> None:
    model = HeadsOnTowers(replace(CONFIG, edges=None))
    given = Batch(image=torch.randn(2, 5), caption=torch.randn(2, 7), group_ids=torch.arange(2))
    names = {"image_features", "text_features", "logit_scale", "group_ids"}
    assert set(model(given)) == names
    assert (model.has_edges, model.embed_dim) == (False, 6)


@torch.no_grad()
def test_cells_are_read_by_the_descriptor(tmp_path: Path) -> None:
    model = HeadsOnTowers(replace(CONFIG, edges="descriptor", edge_channels=8)).eval()
    assert isinstance(model.edge_encoder, CellsEncoder)
    cells = torch.rand(3, 8, 16, 16)
    features, patches = model.edge_encoder(cells)
    torch.testing.assert_close(model.edge_features(cells), features)
    torch.testing.assert_close(model.patch_features(cells), patches)
    model.save(tmp_path)
    torch.testing.assert_close(load_model(tmp_path).edge_features(cells), features)


@torch.no_grad()
def test_heads_read_what_a_tower_makes_of_maps(tmp_path: Path) -> None:
    model = HeadsOnTowers(replace(CONFIG, edges="image_tower", tower_grid=2)).eval()
    branch = model.edge_encoder
    assert isinstance(branch, TowerBranch)
    measured = 3 + 2 * torch.randn(50, 4, 5)
    branch.set_statistics(measured)
    features = 3 + 2 * torch.randn(3, 4, 5)
    embedding, patches = branch(features)
    torch.testing.assert_close(embedding, branch.head(features.mean(dim=1)))
    flat = measured.flatten(0, 1)
    standard = (features - flat.mean(dim=0)) / flat.std(dim=0, correction=0)
    torch.testing.assert_close(patches, branch.patch_projection(standard))
    pooled = measured.mean(dim=1)
    torch.testing.assert_close(branch.head.mean, pooled.mean(dim=0))
    torch.testing.assert_close(branch.head.std, pooled.std(dim=0, correction=0))
    torch.testing.assert_close(model.edge_features(features), embedding)
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    torch.testing.assert_close(loaded.patch_features(features), patches)
    blank = torch.zeros(3, 4, 5)  # features of maps without structure add nothing
    images = torch.randn(3, 5)
    plain = loaded.embed_images(images, None, 0.0)
    torch.testing.assert_close(loaded.embed_images(images, blank, 0.5), plain)
    assert not torch.allclose(loaded.embed_images(images, features, 0.5), plain)


@pytest.mark.parametrize(("edges", "branch"), [(True, "cnn"), (False, None)])
def test_a_model_of_an_earlier_version_is_read(
    tmp_path: Path, edges: bool, branch: Literal["cnn"] | None
) -> None:
    HeadsOnTowers(replace(CONFIG, edges=branch)).save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["edge_channels"]
    (tmp_path / "config.json").write_text(json.dumps(config | {"edges": edges}))
    assert load_model(tmp_path).config.edges == branch


def test_edges_are_embedded_apart(model: HeadsOnTowers) -> None:
    """Fusing the parts is what embedding the images with their edges is."""
    images, maps = torch.randn(3, 5), (torch.rand(3, 1, 64, 64) < 0.1).float()
    maps[1] = 0
    edges = model.embed_edges(maps)
    assert not edges[1].any()
    torch.testing.assert_close(edges[::2].norm(dim=-1), torch.ones(2))
    parts = normalize(model.embed_images(images, None, 0.0) + 0.7 * edges, dim=-1)
    torch.testing.assert_close(model.embed_images(images, maps, 0.7), parts)


@torch.no_grad()
def test_a_second_head_reads_the_features_of_images(model: HeadsOnTowers) -> None:
    """A control: the branch of a model that has no edge maps."""
    control = HeadsOnTowers(replace(CONFIG, edges="second_head")).eval()
    images = torch.randn(3, 5)
    assert isinstance(control.edge_encoder, ProjectionHead)
    torch.testing.assert_close(control.edge_features(images), control.edge_encoder(images))
    given = Batch(
        image=images,
        caption=torch.randn(3, 7),
        structure=torch.randn(3, 7),
        chunks=torch.randn(3, 1, 7),
        chunk_mask=torch.ones(3, 1, dtype=torch.bool),
        edges=images,
        has_structure=torch.ones(3, dtype=torch.bool),
        group_ids=torch.arange(3),
    )
    found = control(given)
    assert "patch_features" not in found
    torch.testing.assert_close(found["edge_features"], control.edge_encoder(images))


def test_the_refusal_of_aligned_towers_is_one_of_parameters() -> None:
    for dims in ((6, 5), (5, 6), (5, 5)):
        with pytest.raises(UserError) as refused:
            HeadsOnTowers(replace(CONFIG, image_dim=dims[0], text_dim=dims[1], aligned=True))
        assert refused.value.exit_code == 2
